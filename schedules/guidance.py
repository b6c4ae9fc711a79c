"""How strongly each frame is guided by the start image. SVD's guidance varies over *frames*."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ..core.contracts import GuidanceSchedule, Span


class Linear(GuidanceSchedule):
    """Rise evenly from the first frame to the last, as in stock SVD."""

    name = "linear"
    min: float = Field(default=1.0, ge=0, allow_inf_nan=False, description="Scale at the first frame.")
    max: float = Field(default=3.0, ge=0, allow_inf_nan=False, description="Scale at the last frame.")

    def scales(self, span: Span) -> Tensor:
        """Return min … max over the frames, (F,)."""
        return torch.linspace(self.min, self.max, span.frames)


class Constant(GuidanceSchedule):
    """The same scale at every frame."""

    name = "constant"
    scale: float = Field(default=2.0, ge=0, allow_inf_nan=False, description="Scale at every frame; 1 = no guidance.")

    def scales(self, span: Span) -> Tensor:
        """Return the scale for each frame, (F,)."""
        return torch.full((span.frames,), self.scale)


class Triangle(GuidanceSchedule):
    """Rise from the first frame to the middle and fall to the last: strong guidance nowhere near the ends."""

    name = "triangle"
    min: float = Field(default=1.0, ge=0, allow_inf_nan=False, description="Scale at the first and last frame.")
    max: float = Field(default=3.0, ge=0, allow_inf_nan=False, description="Scale in the middle.")

    def scales(self, span: Span) -> Tensor:
        """Return min … max … min over the frames, (F,)."""
        height_F = 1 - torch.linspace(-1, 1, span.frames).abs()
        return self.min + (self.max - self.min) * height_F
