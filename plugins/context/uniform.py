"""Windows that move from step to step, so that no frame is always at a border."""

from __future__ import annotations

from itertools import pairwise

from ...core.contracts import Span
from .windowed import Windowed


def shift_of(step: int, stride: int) -> int:
    """Return how far windows are moved in a step: by a half, a quarter, three quarters … of the stride.

    The van der Corput sequence in base 2: after any number of steps the shifts are spread evenly.
    """
    share, half = 0.0, 0.5
    while step:
        share += half * (step & 1)
        step, half = step >> 1, half / 2
    return int(share * stride)


class Uniform(Windowed):
    """Overlapping windows that begin elsewhere in every step: their borders move over the video.

    Windows of one step begin at most a stride apart, and never less than half a stride (unless the whole video is that
    short). To move, most steps need one window more than ``static``, whose number is the least: 5.9 where it has 5,
    for 100 frames in windows of 25.
    """

    name = "uniform"

    def starts(self, span: Span, size: int, stride: int) -> list[int]:
        """Return the first start, every ``stride``-th one from the step's shift on, and the last.

        A start less than half a stride from the first or the last is left out; a gap that is longer than a stride then
        is halved.
        """
        last = span.frames - size
        moved = range(shift_of(span.step, stride), last, stride)
        fixed = [0, *(start for start in moved if min(start, last - start) >= stride / 2), last]
        return [start for before, after in pairwise(fixed) for start in _evenly(before, after, stride)] + [last]


def _evenly(before: int, after: int, stride: int) -> list[int]:
    """Return starts from ``before`` on, evenly spread up to ``after``, which is not among them."""
    count = -(-(after - before) // stride)
    return [before + (after - before) * each // count for each in range(count)]
