"""YaRN: NTK-by-parts and an attention temperature (Peng et al. 2023, arXiv 2309.00071, sections 3.2 and 3.4)."""

from __future__ import annotations

import math
from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from ..core.contracts import Span
from .stretched import Stretched


class Yarn(Stretched):
    """Interpolate slow frequencies, keep fast ones, blend between; sharpen temporal attention.

    A frequency makes L·ω/2π rotations over the trained length: at most 2.2 for 14 frames and 4.0 for 25, so the bounds
    of language models (1 and 32) mean nothing here. The ramp runs over rotations, as in the paper, not over the index.
    """

    name = "yarn"
    beta_slow: float = Field(
        default=1.0,
        ge=0,
        allow_inf_nan=False,
        description="Frequencies with fewer rotations over the trained length are interpolated.",
    )
    beta_fast: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Frequencies with more rotations stay; by default L/2π, the most that any frequency makes.",
    )
    sharpening: float = Field(
        default=0.1,
        ge=0,
        le=100,
        description="Temporal logits are multiplied by (sharpening · ln stretch + 1)²; 0 = never.",
    )

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        if self.beta_fast is not None and self.beta_fast <= self.beta_slow:
            raise ValueError(
                f"beta_fast must be greater than beta_slow, got beta_fast={self.beta_fast} "
                f"with beta_slow={self.beta_slow}"
            )
        return self

    def frequencies(self, freqs_K: Tensor, span: Span) -> Tensor:
        """Return γ·ω + (1 - γ)·ω/s, with γ rising from 0 to 1 between the bounds, (K,)."""
        most = span.trained / (2 * math.pi)
        # Where the model is so short that nothing rotates beta_slow times, the default bound moves out of its way.
        fast = self.beta_fast if self.beta_fast is not None else max(most, self.beta_slow + 1e-6)
        rotations_K = span.trained * freqs_K / (2 * math.pi)
        keep_K = ((rotations_K - self.beta_slow) / (fast - self.beta_slow)).clamp(0, 1)
        # lerp is exact at both ends, so that no stretch changes no bit.
        return torch.lerp(freqs_K / self.stretch(span), freqs_K, keep_K)

    def temperature(self, span: Span) -> float:
        """Return (0.1 ln s + 1)², which the paper puts on queries and keys by halves."""
        return (self.sharpening * math.log(self.stretch(span)) + 1) ** 2
