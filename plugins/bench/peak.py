"""The memory that a call takes at the most."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

import psutil
import torch

PAUSE = 0.005  # seconds between looks


class Peak:
    """Bytes beyond what there was before, once the block has ended."""

    def __init__(self) -> None:
        self.bytes = 0


@contextmanager
def watched(device: torch.device) -> Iterator[Peak]:
    """Watch the memory of a device during the block.

    A GPU's allocator counts, weights included. On a CPU the process is looked at again and again; only what it takes in
    addition is told.
    """
    peak = Peak()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield peak
        peak.bytes = torch.cuda.max_memory_allocated(device)
        return
    _give_back()
    process, done = psutil.Process(), Event()
    before = process.memory_info().rss

    def look() -> None:
        while not done.wait(PAUSE):
            peak.bytes = max(peak.bytes, process.memory_info().rss - before)

    watcher = Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


def _give_back() -> None:
    """Let the C library give freed memory back, where it can; it would hide what the next call takes."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)
