"""How many frames fit: searched for by trying, with the memory of the device capped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager

import torch

from ...core.budget.devices import is_out_of_memory
from .contenders import Call
from .pairs import Result

FIRST = 14  # frames that are tried


@torch.no_grad()
def longest(fits: Callable[[int], bool], most: int, first: int = FIRST) -> int:
    """Return the most frames that fit, to within a twentieth; 0 where ``first`` do not.

    Args:
        fits: tries a number of frames.
        most: beyond which nothing is tried.
        first: that are tried.

    """
    if fits(most):  # where it does not, that is soon seen
        return most
    if most <= first or not fits(first):
        return 0
    low, high = first, 2 * first
    while high < most and fits(high):
        low, high = high, 2 * high
    high = min(high, most)
    while high - low > max(1, low // 20):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def find_limits(
    what: str, contenders: Mapping[str, Callable[[int], AbstractContextManager[Call]]], most: int, device: torch.device
) -> Iterator[Result]:
    """Yield for each contender how many frames it can do, up to ``most``; each is set up for a number of frames."""

    def fits(setup: Callable[[int], AbstractContextManager[Call]], frames: int) -> bool:
        try:
            with setup(frames) as call:
                call()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return False
        finally:
            if device.type == "cuda":
                torch.cuda.empty_cache()
        return True

    for name, setup in contenders.items():
        found = longest(lambda frames, setup=setup: fits(setup, frames), most)  # type: ignore[misc]
        yield Result(what, found, name, [], [], tried=most)
