"""Windows that move from step to step, so that no frame is always at a border."""

from __future__ import annotations

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
    """Overlapping windows that begin elsewhere in every step: their borders move over the video."""

    name = "uniform"

    def starts(self, span: Span, size: int, stride: int) -> list[int]:
        """Return every ``stride``-th frame from the step's shift on; the first and the last frame are always in."""
        last = span.frames - size
        moved = range(shift_of(span.step, stride), last, stride)
        return sorted({0, *moved, last})
