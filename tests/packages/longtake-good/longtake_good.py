"""A positional strategy, an attention strategy with a mask, and a hook that writes the steps down."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch
from pydantic import Field

import longtake


class Ease(longtake.PositionalStrategy):
    """Move slowly at both ends of the video and fast in its middle."""

    name = "ease"

    def positions(self, frames_F: torch.Tensor, span: longtake.Span) -> torch.Tensor:
        """Follow half a cosine from the first trained position to the last."""
        if span.frames <= span.trained:
            return frames_F
        turn_F = torch.pi * frames_F / (span.frames - 1)
        return (span.trained - 1) / 2 * (1 - torch.cos(turn_F))


class Banded(longtake.AttentionStrategy):
    """See the neighbours, and the first frames."""

    name = "banded"
    radius: int = Field(default=2, ge=1, description="Neighbours seen on each side.")
    anchors: int = Field(default=1, ge=0, description="First frames that everyone sees.")

    def mask(self, span: longtake.Span) -> torch.Tensor:
        """Return (F, F), True where the query's row sees the key's column."""
        frames_F = torch.arange(span.frames)
        near_FF = (frames_F[:, None] - frames_F[None, :]).abs() <= self.radius
        return near_FF | (frames_F < self.anchors)[None, :]


@longtake.hookimpl
def longtake_register_strategies(register: Callable[[type], None]) -> None:
    """Offer both."""
    register(Ease)
    register(Banded)


@longtake.hookimpl
def longtake_after_step(step: longtake.Step) -> None:
    """Write a line for each step into the file that the environment names."""
    log = os.environ.get("LONGTAKE_GOOD_LOG")
    if log:
        with Path(log).open("a", encoding="utf-8") as file:
            file.write(f"step {step.index + 1} of {step.count}, {step.latents.shape[1]} frames\n")
