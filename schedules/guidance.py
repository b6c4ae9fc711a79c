"""How strongly each frame is guided by the start image. SVD's guidance varies over *frames*.

A scale of 1 is no guidance, 0 the prediction without the image, and less moves away from the image: an experiment, but
one with a meaning, so it is allowed. So are schedules that fall instead of rising.
"""

from __future__ import annotations

from typing import Annotated, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from ..core.contracts import GuidanceSchedule, Span
from .keyframes import Frame, interpolate


class Linear(GuidanceSchedule):
    """Rise evenly from the first frame to the last, as in stock SVD."""

    name = "linear"
    min: float = Field(default=1.0, allow_inf_nan=False, description="Scale at the first frame.")
    max: float = Field(default=3.0, allow_inf_nan=False, description="Scale at the last frame.")

    def scales(self, span: Span) -> Tensor:
        """Return min … max over the frames, (F,)."""
        return torch.linspace(self.min, self.max, span.frames)


class Constant(GuidanceSchedule):
    """The same scale at every frame."""

    name = "constant"
    scale: float = Field(default=2.0, allow_inf_nan=False, description="Scale at every frame; 1 = no guidance.")

    def scales(self, span: Span) -> Tensor:
        """Return the scale for each frame, (F,)."""
        return torch.full((span.frames,), self.scale)


class Triangle(GuidanceSchedule):
    """Rise from the first frame to the middle and fall to the last: strong guidance nowhere near the ends."""

    name = "triangle"
    min: float = Field(default=1.0, allow_inf_nan=False, description="Scale at the first and last frame.")
    max: float = Field(default=3.0, allow_inf_nan=False, description="Scale in the middle.")

    def scales(self, span: Span) -> Tensor:
        """Return min … max … min over the frames, (F,)."""
        height_F = 1 - torch.linspace(-1, 1, span.frames).abs()
        return self.min + (self.max - self.min) * height_F


class Trapezoid(GuidanceSchedule):
    """Rise over the first frames, stay, and fall over the last ones."""

    name = "trapezoid"
    min: float = Field(default=1.0, allow_inf_nan=False, description="Scale at the first and last frame.")
    max: float = Field(default=3.0, allow_inf_nan=False, description="Scale in between.")
    rise: float = Field(default=0.25, ge=0, le=1, description="Share of the frames over which it rises.")
    fall: float = Field(default=0.25, ge=0, le=1, description="Share of the frames over which it falls.")

    @model_validator(mode="after")
    def _sides_fit(self) -> Self:
        if self.rise + self.fall > 1:
            raise ValueError(f"rise + fall must not be more than 1, got rise={self.rise} with fall={self.fall}")
        return self

    def scales(self, span: Span) -> Tensor:
        """Return min … max … max … min over the frames, (F,)."""
        place_F = torch.linspace(0, 1, span.frames, dtype=torch.float64)
        up_F = place_F / self.rise if self.rise else torch.ones_like(place_F)
        down_F = (1 - place_F) / self.fall if self.fall else torch.ones_like(place_F)
        height_F = up_F.minimum(down_F).clamp(0, 1)
        return (self.min + (self.max - self.min) * height_F).float()


class Keyframes(GuidanceSchedule):
    """Scales at some frames, and straight lines between them; the first and the last one are held beyond."""

    name = "keyframes"
    scale: dict[Frame, Annotated[float, Field(allow_inf_nan=False)]] = Field(
        min_length=1,
        examples=[{0: 1, 3: 3, -1: 2}],
        description="Frame → scale, such as {0: 1, 28: 3, -1: 2}; -1 is the last frame.",
    )

    def scales(self, span: Span) -> Tensor:
        """Return the scale of each frame, (F,)."""
        return interpolate(self.scale, span, "guidance.scale")
