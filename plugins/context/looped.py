"""Windows on a ring, for videos that end where they begin."""

from __future__ import annotations

from ...core.contracts import Span
from ...core.windows import ring_starts
from .uniform import shift_of
from .windowed import Windowed


class Looped(Windowed):
    """Windows that move from step to step and go on over the end into the beginning: the video closes into a ring."""

    name = "looped"
    ring = True

    def starts(self, span: Span, size: int, stride: int) -> list[int]:
        """Return evenly spaced places on the ring, at most ``stride`` apart, turned by the step's shift."""
        shift = shift_of(span.step, stride)
        return sorted((start + shift) % span.frames for start in ring_starts(span.frames, size, stride))
