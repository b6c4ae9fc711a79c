"""Motion bucket and frame rate, which SVD is conditioned on, over the frames of a long video."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from ..core.contracts import MotionSchedule, Span
from .keyframes import Frame, interpolate


class Constant(MotionSchedule):
    """The same motion bucket and frame rate at every frame, as in stock SVD."""

    name = "constant"


class Linear(MotionSchedule):
    """Go evenly from the motion bucket and frame rate asked for to others at the last frame."""

    name = "linear"
    last_bucket: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, description="Motion bucket of the last frame; by default no change."
    )
    last_fps: float | None = Field(
        default=None, ge=1, allow_inf_nan=False, description="Frame rate of the last frame; by default no change."
    )

    def buckets(self, motion_bucket: float, span: Span) -> Tensor:
        """Return the motion bucket of each frame, (F,)."""
        last = motion_bucket if self.last_bucket is None else self.last_bucket
        return _evenly(motion_bucket, last, span)

    def rates(self, fps: float, span: Span) -> Tensor:
        """Return the frame rate of each frame, (F,)."""
        return _evenly(fps, fps if self.last_fps is None else self.last_fps, span)


class Compensated(MotionSchedule):
    """Ask for more motion with the stretch: stretched positions alone give the same motion in more frames.

    The motion bucket is multiplied by stretch^strength and stops at ``limit``, since models know no more motion than
    they were trained on; or the frame rate that the model is told is divided by it, and stops at 1.
    """

    name = "compensated"
    strength: float = Field(default=1.0, ge=0, le=2, description="Exponent on the stretch; 0 changes nothing.")
    factor: float | None = Field(
        default=None, ge=1, allow_inf_nan=False, description="Make up for this stretch; by default frames / trained."
    )
    limit: float = Field(default=255.0, gt=0, allow_inf_nan=False, description="The highest motion bucket to ask for.")
    by: Literal["bucket", "fps"] = Field(
        default="bucket", description="Whether to raise the one or to lower the other."
    )

    def buckets(self, motion_bucket: float, span: Span) -> Tensor:
        """Return min(limit, motion_bucket · s^strength) for each frame, (F,); never less than was asked for."""
        raised = min(self.limit, motion_bucket * self._times(span)) if self.by == "bucket" else 0.0
        return torch.full((span.frames,), max(raised, float(motion_bucket)))

    def rates(self, fps: float, span: Span) -> Tensor:
        """Return max(1, fps / s^strength) for each frame, (F,); never more than was asked for."""
        lowered = max(1.0, fps / self._times(span)) if self.by == "fps" else fps
        return torch.full((span.frames,), min(lowered, float(fps)))

    def highest_bucket(self, top: float, span: Span) -> float:
        """Return the bucket that is raised just to the limit, or to ``top`` if that is lower."""
        return min(self.limit, top) / self._times(span) if self.by == "bucket" else top

    def _times(self, span: Span) -> float:
        return float((self.factor or span.stretch) ** self.strength)


class Keyframes(MotionSchedule):
    """Motion buckets and frame rates at some frames, and straight lines between them."""

    name = "keyframes"
    bucket: dict[Frame, Annotated[float, Field(ge=0, allow_inf_nan=False)]] | None = Field(
        default=None,
        min_length=1,
        description="Frame → motion bucket, such as {0: 20, -1: 127}; by default the one asked for, at all frames.",
    )
    fps: dict[Frame, Annotated[float, Field(ge=1, allow_inf_nan=False)]] | None = Field(
        default=None, min_length=1, description="Frame → frames per second, likewise."
    )

    def buckets(self, motion_bucket: float, span: Span) -> Tensor:
        """Return the motion bucket of each frame, (F,)."""
        if self.bucket is None:
            return super().buckets(motion_bucket, span)
        return interpolate(self.bucket, span, "motion.bucket")

    def rates(self, fps: float, span: Span) -> Tensor:
        """Return the frame rate of each frame, (F,)."""
        return super().rates(fps, span) if self.fps is None else interpolate(self.fps, span, "motion.fps")


def _evenly(first: float, last: float, span: Span) -> Tensor:
    """Return what rises or falls evenly over the whole video, in the frames that are asked about, (F,)."""
    return torch.linspace(first, last, span.frames_of_video)[span.numbers_F]
