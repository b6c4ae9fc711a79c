"""The trained positions, forwards and backwards."""

from __future__ import annotations

from torch import Tensor

from ..core.contracts import PositionalStrategy, Span


class PingPong(PositionalStrategy):
    """Go to the last trained position and back to the first, over and over.

    Every position, and every step from one to the next, is one that the model was trained on; but the video goes back
    with its positions.
    """

    name = "pingpong"

    def positions(self, frames_F: Tensor, span: Span) -> Tensor:
        """Return positions reflected at 0 and L - 1, (F,)."""
        last = span.trained - 1
        if span.frames <= span.trained or last == 0:
            return frames_F
        phase_F = frames_F % (2 * last)
        return phase_F.minimum(2 * last - phase_F)

    def slows(self) -> bool:
        """Return whether motion slows down by the stretch: no."""
        return False
