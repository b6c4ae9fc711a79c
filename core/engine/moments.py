"""Temporal group norm in two passes, so that neither all frames nor all pixels need be in one place.

A temporal group norm takes its statistics over the frames, rows and columns of a video. Each part gives its count, mean
and sum of squared deviations; these merge exactly (Chan, Golub and LeVeque 1979, equations 2.1).

Shape suffixes: F = frames, C = channels, G = groups, P = pixels, E = elements of a group, S = parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from .wrapped import at_work


class Moments(NamedTuple):
    """Of each group of channels: how many numbers, their mean, the sum of their squared deviations from it."""

    total: int
    mean_G: Tensor
    squares_G: Tensor


def moments_of(groups_GE: Tensor) -> Moments:
    """Return the moments of numbers that stand in one row for each group; at least in float32."""
    wide_GE = groups_GE.to(torch.promote_types(groups_GE.dtype, torch.float32))
    mean_G1 = wide_GE.mean(dim=-1, keepdim=True)
    # From the mean rather than from the sum of squares, of which little would be left where the mean is large.
    squares_G = torch.linalg.vector_norm(wide_GE - mean_G1, dim=-1).square()
    return Moments(groups_GE.shape[-1], mean_G1[..., 0], squares_G)


def moments_bytes(channels: int, number: int) -> int:
    """Return how much one pixel takes in ``moments_of``, at ``number`` bytes a number."""
    wide = max(number, 4)
    return channels * (wide + (wide if wide != number else 0))


def merge_moments(parts: Sequence[Moments]) -> Moments:
    """Return the moments of all parts together."""
    total = sum(part.total for part in parts)
    # Counts stay numbers of Python: as tensors they would have to be sent to the device, which it waits for.
    mean_G = torch.stack([part.total / total * part.mean_G for part in parts]).sum(dim=0)
    squares_G = torch.stack([part.squares_G + part.total * (part.mean_G - mean_G).square() for part in parts])
    return Moments(total, mean_G, squares_G.sum(dim=0))


def moments_of_frames(states_FCP: Tensor, groups: int) -> Moments:
    """Return the moments of whole frames, (F, C, P)."""
    frames = len(states_FCP)
    each = moments_of(states_FCP.reshape(frames * groups, -1))
    means_FG, squares_FG = each.mean_G.view(frames, -1), each.squares_G.view(frames, -1)
    mean_G = means_FG.mean(dim=0)
    between_G = each.total * (means_FG - mean_G).square().sum(dim=0)
    return Moments(frames * each.total, mean_G, squares_FG.sum(dim=0) + between_G)


def normalise(states_NCE: Tensor, moments: Moments, norm: nn.GroupNorm) -> Tensor:
    """Return what ``norm`` gives where the statistics are these; channels are the second dimension."""
    if "forward" in vars(norm):  # wrapped: its weights may have to be brought
        with at_work(norm):
            return _normalise(states_NCE, moments, norm)
    return _normalise(states_NCE, moments, norm)


def _normalise(states_NCE: Tensor, moments: Moments, norm: nn.GroupNorm) -> Tensor:
    channels_each = norm.num_channels // norm.num_groups
    variance_G = moments.squares_G / moments.total
    mean_C, variance_C = (each_G.repeat_interleave(channels_each) for each_G in (moments.mean_G, variance_G))
    # A batch norm with given statistics is the same formula, in one pass.
    weight_C, bias_C = norm.weight.to(mean_C), norm.bias.to(mean_C)
    return functional.batch_norm(states_NCE, mean_C, variance_C, weight_C, bias_C, training=False, eps=norm.eps)
