"""Windows that stay where they are."""

from __future__ import annotations

from ...core.contracts import Span
from ...core.windows import window_starts
from .windowed import Windowed


class Static(Windowed):
    """The same overlapping windows in every step, the last one ending on the last frame."""

    name = "static"

    def starts(self, span: Span, size: int, stride: int) -> list[int]:
        """Return every ``stride``-th frame and where the last window begins."""
        return window_starts(span.frames, size, stride)
