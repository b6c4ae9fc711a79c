"""Whether a KeyboardInterrupt is one of the user, or is raised by somebody's code."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(KeyboardInterrupt):
    """The system has asked the program to stop, by a signal that is treated like Ctrl-C."""


class Interrupts:
    """Counts the signals of Ctrl-C that arrive within :func:`counted`."""

    def __init__(self) -> None:
        self.count = 0

    def stops(self, error: BaseException) -> bool:
        """Whether an error that came out of the block is there because the user or the system wants to stop."""
        return isinstance(error, Stopped) or self.count > 0


@contextmanager
def counted() -> Iterator[Interrupts]:
    """Count Ctrl-C within the block, which acts as before; in other threads than the main one there is none."""
    interrupts, before = Interrupts(), signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield interrupts
        return

    def count(number: int, frame: FrameType | None) -> None:
        interrupts.count += 1
        before(number, frame)

    signal.signal(signal.SIGINT, count)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, before)
