"""What a generation starts from: noise for every frame, or the same noise in another order."""

from __future__ import annotations

from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from ..core.contracts import NoiseSchedule, Span
from ..core.errors import ConfigError


class Independent(NoiseSchedule):
    """Fresh noise for every frame, as in stock SVD."""

    name = "independent"


class Repeat(NoiseSchedule):
    """The noise of the first window, again and again in the same order."""

    name = "repeat"
    window: int | None = Field(default=None, ge=1, description="Frames of fresh noise; by default the trained length.")

    def sources(self, span: Span, generator: torch.Generator) -> Tensor:
        """Return frame modulo window, (F,)."""
        return torch.arange(span.frames) % (self.window or span.trained)


class FreeNoise(NoiseSchedule):
    """Fresh noise for the first window; each later block of frames is a permutation of the block a window earlier.

    Noise rescheduling of FreeNoise (Qiu et al. 2023, arXiv 2310.15169, section 3.2). The block a window earlier may
    itself be a permutation; the last block may be shorter, and then uses a part of its block.
    """

    name = "freenoise"
    window: int | None = Field(default=None, ge=1, description="Frames of fresh noise; by default the trained length.")
    stride: int | None = Field(
        default=None, ge=1, description="Frames in a block that is permuted; by default a quarter of the window."
    )

    @model_validator(mode="after")
    def _stride_fits(self) -> Self:
        if self.window is not None and self.stride is not None and self.stride > self.window:
            raise ValueError(f"stride must not exceed the window, got stride={self.stride} with window={self.window}")
        return self

    def sources(self, span: Span, generator: torch.Generator) -> Tensor:
        """Return which fresh frame each frame uses, (F,)."""
        window = self.window or span.trained
        stride = self.stride or max(1, window // 4)
        if stride > window:
            raise ConfigError(f"noise.stride must not exceed the window, got stride={stride} with window={window}")
        sources_F = torch.arange(span.frames)
        for start in range(window, span.frames, stride):
            block_S = sources_F[start - window : start - window + stride]
            shuffled_S = block_S[torch.randperm(len(block_S), generator=generator)]
            sources_F[start : start + stride] = shuffled_S[: span.frames - start]
        return sources_F
