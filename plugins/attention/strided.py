"""Neighbours and every n-th frame: near detail and far memory with few keys."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ...core.contracts import AttentionStrategy, Span


class Strided(AttentionStrategy):
    """Let every frame see its neighbours and every n-th frame of the video, and the first one if asked.

    With at most as many frames as the model was trained on, nothing changes.
    """

    name = "strided"
    radius: int | None = Field(
        default=None, ge=1, description="Neighbours seen on each side; by default a quarter of the trained length."
    )
    every: int | None = Field(
        default=None,
        ge=1,
        description="Distance between the frames that all see; by default so that about half the trained length is.",
    )
    first: bool = Field(default=True, description="Whether every frame sees the first one.")

    def mask(self, span: Span) -> Tensor | None:
        """Return which (query, key) pairs are seen, (F, F)."""
        if span.frames <= span.trained:
            return None
        radius = self.radius or max(1, span.trained // 4)
        every = self.every or max(1, round(2 * span.frames / span.trained))
        frames_F = torch.arange(span.frames)
        near_FF = (frames_F[:, None] - frames_F[None, :]).abs() <= radius
        # Counted from the middle of a stride, so that `first` alone decides about frame 0.
        far_F = frames_F % every == every // 2
        if self.first:
            far_F[0] = True
        return near_FF | far_F[None, :]
