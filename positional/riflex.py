"""RIFLEx: only the frequency that brings the repetition is lowered (Zhao et al. 2025, arXiv 2502.15894)."""

from __future__ import annotations

import math

from pydantic import Field
from torch import Tensor

from ..core.contracts import Span
from .stretched import Stretched


class Riflex(Stretched):
    """Lower the frequencies whose period is the length at which videos begin to repeat themselves; leave the others.

    The paper lowers a single one, the intrinsic frequency, to 0.9 · 2π / T: its models have about eight over time. SVD
    has 160 to 640 in each level, of which 7 to 28 lie within a fifth of that period, so a whole band is lowered, by the
    ratio that the intrinsic one asks for. At a stretch hardly above 1 that is 0.9 already, as published. It leaves the
    curve that the model's position MLP was trained on.
    """

    name = "riflex"
    width: float = Field(
        default=0.2,
        ge=0,
        lt=1,
        description="Frequencies whose period is within this share of the intrinsic one are lowered with it; 0 = that "
        "one alone, as published.",
    )
    repeats_at: float | None = Field(
        default=None,
        gt=1,
        allow_inf_nan=False,
        description="Frames after which a video repeats itself; by default the trained length.",
    )
    share: float = Field(
        default=0.9, gt=0, le=1, description="Of its period, how much the intrinsic frequency makes over the video."
    )

    def frequencies(self, freqs_K: Tensor, span: Span) -> Tensor:
        """Return the frequencies with the band lowered, (K,); none is raised."""
        stretch = self.stretch(span)
        if stretch == 1:
            return freqs_K
        periods_K = 2 * math.pi / freqs_K
        repeats_at = self.repeats_at or span.trained
        # By ratio: half the period is as far from it as twice the period.
        intrinsic = periods_K[(periods_K / repeats_at).log().abs().argmin()]
        ratio = self.share * intrinsic / (span.trained * stretch)
        band_K = ((periods_K - intrinsic) / intrinsic).abs() <= self.width
        return (freqs_K * ratio.clamp(max=1)).where(band_K, freqs_K)

    def slows(self) -> bool:
        """Return whether motion slows down by the stretch: no."""
        return False
