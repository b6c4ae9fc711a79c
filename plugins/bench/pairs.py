"""Timing in pairs: the contenders take turns, and what is told is the ratio within each round."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ...core.budget.devices import is_out_of_memory
from .contenders import Call
from .peak import watched

Setup = Callable[[], AbstractContextManager[Call]]


@dataclass(frozen=True, slots=True)
class Result:
    """One contender at one length.

    Attributes:
        what: is called: a part of the bench, see :func:`~longtake.plugins.bench.run.compare_part`.
        frames: of the video.
        contender: its name.
        seconds: of each round.
        ratios: of each round, how many times as long the first contender takes.
        peak: bytes at the most: of a GPU all that are taken, of a CPU those that the call takes.
        failed: why there are no seconds, or empty.
        size: of the model.
        dtype: of its weights.
        commit: that was measured.
        base: the first contender, to which the ratios are; empty where it was the only one.
        unet: seconds of each round that were spent in the UNet, where it is only a part of the call.
        steps: in which it was called, where the part is made of steps.
        cap: GiB of the device's memory that might be used; None = all.
        tried: of a limit, the most frames that were tried.

    """

    what: str
    frames: int
    contender: str
    seconds: list[float]
    ratios: list[float]
    peak: int = 0
    failed: str = ""
    size: str = ""
    dtype: str = ""
    commit: str = ""
    base: str = ""
    unet: list[float] = field(default_factory=list)
    steps: int | None = None
    cap: float | None = None
    tried: int | None = None

    def ratio(self) -> str:
        """Return the median of the ratios, with the least and the most."""
        if self.failed:
            return self.failed
        if not self.ratios or not self.base:  # the first contender failed, or there was no other
            return "–"
        return f"{statistics.median(self.ratios):.2f} ({min(self.ratios):.2f} … {max(self.ratios):.2f})"


@torch.no_grad()
def compare(
    what: str,
    frames: int,
    contenders: Mapping[str, Setup],
    rounds: int,
    device: torch.device,
    *,
    cold: bool = False,
    unet: nn.Module | None = None,
) -> list[Result]:
    """Return a result for each contender; ratios are to the first of them.

    Each is called once before anything counts, unless ``cold``. Then, in every round, all are called in turn. One that
    runs out of memory is left out from then on, and told so. Calls of ``unet`` within them are timed as well.
    """
    base = next(iter(contenders))
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    inside: dict[str, list[float]] = {name: [] for name in contenders}
    peaks, failed = dict.fromkeys(contenders, 0), dict.fromkeys(contenders, "")
    for turn in range(1 if cold else 0, rounds + 1):
        for name, setup in contenders.items():
            if failed[name]:
                continue
            try:
                with setup() as call, timed_inside(unet, device) as spent:
                    took, peak = _timed(call, device)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                failed[name] = "out of memory"
                continue
            if turn:  # turn 0 is to warm up
                seconds[name].append(took)
                inside[name] += [sum(spent)] if spent else []
            peaks[name] = max(peaks[name], peak)
    return [
        Result(
            what,
            frames,
            name,
            seconds[name],
            [first / mine for first, mine in zip(seconds[base], seconds[name], strict=False)],
            peaks[name],
            failed[name],
            base=base if len(contenders) > 1 else "",
            unet=inside[name],
        )
        for name in contenders
    ]


def _timed(call: Callable[[], Tensor], device: torch.device) -> tuple[float, int]:
    """Return seconds and peak bytes of a call."""
    with watched(device) as peak:
        begin = _now(device)
        call()
        took = _now(device) - begin
    return took, peak.bytes


@contextmanager
def timed_inside(module: nn.Module | None, device: torch.device) -> Iterator[list[float]]:
    """Time every call of a module during the block, whoever makes it and whatever stands for its forward."""
    begun: list[float] = []
    spent: list[float] = []
    if module is None:
        yield spent
        return
    before = module.register_forward_pre_hook(lambda *_: begun.append(_now(device)))
    after = module.register_forward_hook(lambda *_: spent.append(_now(device) - begun.pop()))
    try:
        yield spent
    finally:
        before.remove()
        after.remove()


def _now(device: torch.device) -> float:
    """Return the time in seconds when the device has done all that it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
