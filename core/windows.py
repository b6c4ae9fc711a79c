"""Overlapping windows over frames, and the weights with which they are fused.

Shape suffixes: W = windows, F = frames.
"""

from __future__ import annotations

import torch
from torch import Tensor


def window_starts(frames: int, size: int, stride: int) -> list[int]:
    """Return where windows of ``size`` begin, every ``stride`` frames; the last one ends on the last frame.

    Raises:
        ValueError: size or stride is not positive, or windows of that stride would leave frames uncovered.

    """
    if not 1 <= stride <= size:
        raise ValueError(f"stride must be in 1 … size, got stride={stride} with size={size}")
    if frames <= size:
        return [0]
    return [*range(0, frames - size, stride), frames - size]


def triangle(size: int) -> Tensor:
    """Return weights that rise from both ends to the middle: 1, 2, 2, 1 or 1, 2, 3, 2, 1; (size,) in float32."""
    ramp = torch.arange(1, size + 1)
    return torch.minimum(ramp, ramp.flip(0)).float()


def fused_weights(frames: int, size: int, starts: list[int]) -> Tensor:
    """Return the triangle of each window, scaled so that the windows over a frame sum to one; (W, F) in float32."""
    size = min(size, frames)
    weights_WF = torch.zeros(len(starts), frames)
    for weights_F, start in zip(weights_WF, starts, strict=True):
        weights_F[(start + torch.arange(size)) % frames] = triangle(size)
    return weights_WF / weights_WF.sum(dim=0)
