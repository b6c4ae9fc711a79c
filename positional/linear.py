"""Position interpolation (Chen et al. 2023, arXiv 2306.15595), for frames instead of words."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from ..core.contracts import Span
from .stretched import Stretched


class Linear(Stretched):
    """Divide every position by the stretch, so that a long video spans about the trained positions.

    Trained positions are 0 … L - 1. With ``align: step`` the last frame stands at L - L/T: for T = 56 frames of L = 14
    that is 13.75, which is beyond the last trained position, 13, by less than one frame. With ``align: ends`` all
    positions lie within 0 … L - 1. Positions stay on the curve that the model's position MLP was trained on, or on its
    continuation by less than a frame, and the motion slows down by the factor unless a motion schedule makes up for it.
    """

    name = "linear"
    align: Literal["step", "ends"] = Field(
        default="step",
        description="step: frame t stands at t / stretch, and the last ones less than a frame beyond the last trained "
        "position; ends: the last frame stands on the last trained position.",
    )

    def positions(self, frames_F: Tensor, span: Span) -> Tensor:
        """Scale by L/T, which ends at L - L/T, or by (L - 1)/(T - 1), which ends at L - 1.

        A factor so large that less than one trained frame is left has no ends to align, and scales plainly.
        """
        reach = span.frames / self.stretch(span)
        if self.align == "ends" and reach > 1:
            return frames_F * ((reach - 1) / (span.frames - 1))
        return frames_F / self.stretch(span)
