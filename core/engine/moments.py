"""Norms, and those of groups from moments, so that neither all frames nor all pixels need be in one place.

A group norm of a frame takes its statistics over rows and columns, a temporal one over the frames as well. Each part
gives its count, mean and sum of squared deviations; these merge exactly (Chan, Golub and LeVeque 1979, equations 2.1).

Shape suffixes: F = frames, P = pixels, C = channels, G = groups, E = channels of a group,
R = rows, one for each frame or each video, or one for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from .fused import kernels_for
from .layout import states_of, tokens_of
from .wrapped import at_work, is_plain


class Moments(NamedTuple):
    """Of each group of channels: how many numbers, their mean, the sum of their squared deviations from it."""

    total: int
    mean_RG: Tensor
    squares_RG: Tensor

    def reshaped(self, rows: int) -> Moments:
        """Return the same numbers in so many rows."""
        return self._replace(mean_RG=self.mean_RG.reshape(rows, -1), squares_RG=self.squares_RG.reshape(rows, -1))

    def for_each_frame(self, frames: int) -> Moments:
        """Return a row for each frame of several videos, which take turns, given one for each video."""
        if len(self.mean_RG) == 1:  # which serves all frames
            return self
        return self._replace(mean_RG=self.mean_RG.repeat(frames, 1), squares_RG=self.squares_RG.repeat(frames, 1))


def moments_of(states_FPC: Tensor, groups: int, plus_RC: Tensor | None = None) -> Moments:
    """Return the moments of each frame, a row for each; at least in float32.

    They are those of the states plus ``plus_RC``, a row for each frame or one for all, which is not added to them.
    """
    pixels, channels = states_FPC.shape[1:]
    total = pixels * channels // groups
    if kernels := kernels_for(states_FPC):
        return Moments(total, *kernels.moments(states_FPC, groups, plus_RC))
    wide_FPC = states_FPC.to(torch.promote_types(states_FPC.dtype, torch.float32))
    mean_FC = wide_FPC.mean(dim=1)
    # From the mean rather than from the sum of squares, of which little would be left where the mean is large.
    squares_FC = (wide_FPC - mean_FC[:, None]).square_().sum(dim=1)
    mean_FC = mean_FC if plus_RC is None else mean_FC + plus_RC
    mean_FGE, squares_FGE = (each_FC.unflatten(1, (groups, -1)) for each_FC in (mean_FC, squares_FC))
    variance_FG, mean_FG = torch.var_mean(mean_FGE, dim=2, correction=0)
    return Moments(total, mean_FG, torch.add(squares_FGE.sum(dim=2), variance_FG, alpha=total))


def moments_bytes(channels: int, number: int) -> int:
    """Return how much one pixel takes in ``moments_of``, at ``number`` bytes a number."""
    wide = max(number, 4)
    return channels * (wide + (wide if wide != number else 0))


def merge_moments(parts: Sequence[Moments]) -> Moments:
    """Return the moments of all rows of all parts together, in one row."""
    total = sum(part.total * len(part.mean_RG) for part in parts)
    # Counts stay numbers of Python: as tensors they would have to be sent to the device, which it waits for.
    mean_1G = sum(part.total / total * part.mean_RG.sum(dim=0, keepdim=True) for part in parts)
    squares_1G = sum(
        (part.squares_RG + part.total * (part.mean_RG - mean_1G).square()).sum(dim=0, keepdim=True) for part in parts
    )
    assert isinstance(mean_1G, Tensor) and isinstance(squares_1G, Tensor), "there are no parts"
    return Moments(total, mean_1G, squares_1G)


def normalise(
    states_FPC: Tensor, moments: Moments, norm: nn.GroupNorm, plus_RC: Tensor | None = None, *, silu: bool = True
) -> Tensor:
    """Return what ``norm`` gives where the statistics are these, and SiLU of it where asked.

    It is given the states plus ``plus_RC``, a row for each frame or one for all.
    """
    if "forward" in vars(norm):  # wrapped: its weights may have to be brought
        with at_work(norm):
            return _normalise(states_FPC, moments, norm, plus_RC, silu)
    return _normalise(states_FPC, moments, norm, plus_RC, silu)


def _normalise(states_FPC: Tensor, moments: Moments, norm: nn.GroupNorm, plus_RC: Tensor | None, silu: bool) -> Tensor:
    if kernels := kernels_for(states_FPC):
        made_FPC: Tensor = kernels.normalised(states_FPC, *moments, norm, plus_RC, silu=silu)
        return made_FPC
    factor_RG = torch.rsqrt(moments.squares_RG / moments.total + norm.eps)
    mean_RGE = moments.mean_RG[..., None]
    if plus_RC is not None:
        mean_RGE = mean_RGE - plus_RC.unflatten(1, (norm.num_groups, -1))
    weight_GE, bias_GE = (each_C.view(norm.num_groups, -1).to(mean_RGE) for each_C in (norm.weight, norm.bias))
    scale_RGE = factor_RG[..., None] * weight_GE
    shift_RGE = torch.addcmul(bias_GE, mean_RGE, scale_RGE, value=-1)
    scale_RC, shift_RC = scale_RGE.flatten(1), shift_RGE.flatten(1)
    scaled_FPC = torch.addcmul(shift_RC[:, None], states_FPC, scale_RC[:, None])
    return (functional.silu(scaled_FPC, inplace=True) if silu else scaled_FPC).to(states_FPC.dtype)


def group_norm(states_FCYX: Tensor, norm: nn.GroupNorm, plus_RC: Tensor | None = None, *, silu: bool = True) -> Tensor:
    """Return what a group norm makes of each frame plus a row, and SiLU of it where asked, with channels last."""
    if not is_plain(norm):
        normed_FCYX: Tensor = norm(states_FCYX if plus_RC is None else states_FCYX + plus_RC[..., None, None])
        return functional.silu(normed_FCYX, inplace=True) if silu else normed_FCYX
    states_FPC = tokens_of(states_FCYX)
    moments = moments_of(states_FPC, norm.num_groups, plus_RC)
    return states_of(_normalise(states_FPC, moments, norm, plus_RC, silu), states_FCYX.shape[2:])


def layer_norm(states_FPC: Tensor, norm: nn.LayerNorm) -> Tensor:
    """Return what a norm over the channels of each token gives."""
    kernels = kernels_for(states_FPC) if is_plain(norm) and norm.bias is not None else None
    normed_FPC: Tensor = kernels.layer_normed(states_FPC, norm) if kernels else norm(states_FPC)
    return normed_FPC
