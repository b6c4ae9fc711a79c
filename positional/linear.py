"""Position interpolation (Chen et al. 2023, arXiv 2306.15595), for frames instead of words."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from ..core.contracts import Span
from .stretched import Stretched


class Linear(Stretched):
    """Divide every position by the stretch: the whole video lies within the trained positions.

    Positions stay on the curve that the model's position MLP was trained on, and the motion slows down by the factor
    unless a motion schedule makes up for it.
    """

    name = "linear"
    align: Literal["step", "ends"] = Field(
        default="step",
        description="step: frame t stands at t / stretch; ends: the last frame stands on the last trained position.",
    )

    def positions(self, frames_F: Tensor, span: Span) -> Tensor:
        """Scale by L/T, which ends at L - L/T, or by (L - 1)/(T - 1), which ends at L - 1.

        A factor so large that less than one trained frame is left has no ends to align, and scales plainly.
        """
        reach = span.frames / self.stretch(span)
        if self.align == "ends" and reach > 1:
            return frames_F * ((reach - 1) / (span.frames - 1))
        return frames_F / self.stretch(span)
