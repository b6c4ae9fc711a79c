"""NTK-aware scaling: a larger base for the frequencies (bloc97 2023; YaRN, arXiv 2309.00071, definition 1)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ..core.contracts import Span
from .stretched import Stretched


class Ntk(Stretched):
    """Divide frequency k by stretch^(k / (K - 1)): the fastest by nothing, the slowest by all of it.

    The same as a base of 10000 · s^(D / (D - 2)). It leaves the curve that the model's position MLP was trained on.
    """

    name = "ntk"
    strength: float = Field(default=1.0, ge=0, le=1, description="Exponent on the stretch; 0 changes nothing.")

    def frequencies(self, freqs_K: Tensor, span: Span) -> Tensor:
        """Return the frequencies with the raised base, (K,)."""
        ramp_K = torch.linspace(0, 1, len(freqs_K), device=freqs_K.device)
        return freqs_K / self.stretch(span) ** (self.strength * ramp_K)
