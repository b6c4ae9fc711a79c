"""Noise that frames have in common (PYoCo: Ge et al. 2023, arXiv 2305.10474, section 4.1).

Shape suffixes: B = batch, F = frames, C = latent channels, Y, X = latent rows, columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from ..core.contracts import NoiseSchedule


class Mixed(NoiseSchedule):
    """A part of the noise is the same in all frames: any two of them correlate by α² / (1 + α²).

    α / √(1 + α²) of one shared noise and 1 / √(1 + α²) of each frame's own. The paper trains with it; SVD was trained
    with independent noise.
    """

    name = "mixed"
    alpha: float = Field(default=1.0, ge=0, le=100, description="How much is shared; 0 = nothing.")

    def noise(self, shape_BFCYX: Sequence[int], sources_F: Tensor, generator: torch.Generator) -> Tensor:
        """Return noise of unit variance, (B, F, C, Y, X) in float32."""
        own_BFCYX = super().noise(shape_BFCYX, sources_F, generator)
        if self.alpha == 0:
            return own_BFCYX
        batch, _, *rest = shape_BFCYX
        shared_B1CYX = torch.randn((batch, 1, *rest), generator=generator, dtype=torch.float32)
        mixed_BFCYX: Tensor = (self.alpha * shared_B1CYX + own_BFCYX) / math.sqrt(1 + self.alpha**2)
        return mixed_BFCYX


class Progressive(NoiseSchedule):
    """Each frame's noise is made from the one before: neighbours correlate by ρ = α / √(1 + α²), others by ρ^distance.

    Closed, the last frame is a neighbour of the first: frames on a ring of T correlate by (ρ^d + ρ^(T - d)) / (1 + ρ^T)
    at a distance of d, which is how an autoregressive process of order 1 on a ring does.
    """

    name = "progressive"
    alpha: float = Field(default=2.0, ge=0, le=100, description="How much is handed on; 0 = nothing.")
    closed: bool = Field(default=False, description="Whether the last frame hands on to the first, for a loop.")

    def correlation(self, frames: int) -> Tensor:
        """Return how the noises of frames correlate, (F, F) in float64."""
        rho = self.alpha / math.sqrt(1 + self.alpha**2)
        frames_F = torch.arange(frames, dtype=torch.float64)
        apart_FF = (frames_F[:, None] - frames_F[None, :]).abs()
        if not self.closed:
            return rho**apart_FF
        return (rho**apart_FF + rho ** (frames - apart_FF)) / (1 + rho**frames)

    def noise(self, shape_BFCYX: Sequence[int], sources_F: Tensor, generator: torch.Generator) -> Tensor:
        """Return noise of unit variance, (B, F, C, Y, X) in float32: independent noise times a root of its covariance.

        The triangular root hands on from frame to frame: without a ring it is the paper's recursion, written out.
        """
        own_BFCYX = super().noise(shape_BFCYX, sources_F, generator)
        if self.alpha == 0:
            return own_BFCYX
        root_FF = torch.linalg.cholesky(self.correlation(shape_BFCYX[1])).float()
        return torch.einsum("fg,bgcyx->bfcyx", root_FF, own_BFCYX)
