"""Positions shared by groups of frames, as the first node of this kind for ComfyUI had them; kept to compare."""

from __future__ import annotations

from torch import Tensor

from ..core.contracts import Span
from .stretched import Stretched


class Grouped(Stretched):
    """Give the same whole position to as many neighbouring frames as the stretch is.

    All positions are trained ones, but frames of a group cannot be told apart by theirs, and between groups time jumps.
    """

    name = "grouped"

    def positions(self, frames_F: Tensor, span: Span) -> Tensor:
        """Return floor(t / s), (F,)."""
        # In double precision and a trifle up, so that 8 · 14/16 is not taken for a little less than 7.
        quotients_F = frames_F.cpu().double() / self.stretch(span)
        return (quotients_F + 1e-9).floor().to(frames_F)
