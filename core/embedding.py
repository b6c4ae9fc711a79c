"""The temporal code of SVD: frame positions as cosines and sines.

SVD embeds a frame's position at angular frequencies 10000^(-k/K), k = 0 … K - 1, cosines first; they are the
frequencies of rotary embeddings (Su et al. 2021) with D = 2 K channels, but the code is absolute and additive.

Shape suffixes: F = frames, K = frequencies, C = channels (2 K).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

MAX_PERIOD = 10_000.0


def trained_frequencies(channels: int, device: torch.device | str | None = None) -> Tensor:
    """Return SVD's angular frequencies in radians per frame, highest first, (channels / 2,) in float32.

    Raises:
        ValueError: ``channels`` is odd or not positive.

    """
    if channels < 2 or channels % 2:
        raise ValueError(f"channels must be even and at least 2, got {channels}")
    half = channels // 2
    return torch.exp(-math.log(MAX_PERIOD) * torch.arange(half, dtype=torch.float32, device=device) / half)


def embed(positions_F: Tensor, freqs_K: Tensor) -> Tensor:
    """Return cosine and sine of every position at every frequency, (F, C) in float32."""
    angles_FK = positions_F.float()[:, None] * freqs_K[None, :]
    return torch.cat([angles_FK.cos(), angles_FK.sin()], dim=-1)
