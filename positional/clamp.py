"""Nothing beyond the trained positions."""

from __future__ import annotations

from torch import Tensor

from ..core.contracts import PositionalStrategy, Span


class Clamp(PositionalStrategy):
    """Hold all frames beyond the trained ones at the last trained position.

    What comes after it has no order for the model: it is known by attention and convolutions alone which frame is next.
    """

    name = "clamp"

    def positions(self, frames_F: Tensor, span: Span) -> Tensor:
        """Return min(t, L - 1), (F,)."""
        return frames_F.clamp(max=max(span.trained, 1) - 1) if span.frames > span.trained else frames_F

    def slows(self) -> bool:
        """Return whether motion slows down by the stretch: no."""
        return False
