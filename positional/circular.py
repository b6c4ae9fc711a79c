"""Positions on a closed path, for videos that end where they begin."""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from ..core.contracts import PositionalStrategy, Span


class Circular(PositionalStrategy):
    """Let the frame after the last stand where the first one stands, so that the video can be shown in a loop.

    With at most as many frames as the model was trained on nothing changes: too few to go anywhere and back.
    """

    name = "circular"
    way: Literal["back", "round"] = Field(
        default="back",
        description="back: from the first trained position to the last and back along a cosine; round: the plain "
        "positions, with every frequency rounded to whole turns over the video.",
    )

    def positions(self, frames_F: Tensor, span: Span) -> Tensor:
        """Return (L - 1) / 2 · (1 - cos(2π t / T)) on the way back, else t, (F,)."""
        if self.way == "round" or span.frames <= span.trained:
            return frames_F
        turn_F = 2 * math.pi / span.frames * frames_F
        return (span.trained - 1) / 2 * (1 - torch.cos(turn_F))

    def frequencies(self, freqs_K: Tensor, span: Span) -> Tensor:
        """Return the multiples of 2π / T nearest to the trained ones where the way is round, (K,).

        Those that do not make half a turn over the video become 0: their sines and cosines say the same of every frame.
        """
        if self.way == "back" or span.frames <= span.trained:
            return freqs_K
        slowest = 2 * math.pi / span.frames
        return (freqs_K / slowest).round() * slowest

    def slows(self) -> bool:
        """Return whether motion slows down by the stretch: no."""
        return False
