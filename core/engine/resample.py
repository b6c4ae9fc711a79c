"""Up-sampling: nearest neighbours and a convolution, as one transposed convolution.

Shape suffixes: F = frames, C = channels, Y, X = rows, columns, O = channels out, I = channels in, K = kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .layout import channels_last
from .wrapped import is_plain


def merged_kernel(weight_OIKK: Tensor) -> Tensor:
    """Return the 4x4 kernel of the transposed convolution that doubles a picture and then convolves it by 3x3.

    Each pixel becomes two by two alike, so of the three taps along an axis an output pixel adds those that fall on the
    same input pixel: taps w2 | w1 + w2 | w0 + w1 | w0, at distances -1, 0, 1, 2 from twice the input's place. Merged
    in float32 at least, then rounded once. As (I, O, 4, 4), which a transposed convolution wants.
    """
    wide = weight_OIKK.to(torch.promote_types(weight_OIKK.dtype, torch.float32))
    for dim in (2, 3):
        first, second, third = wide.unbind(dim)
        wide = torch.stack([third, second + third, first + second, first], dim)
    return wide.to(weight_OIKK.dtype).transpose(0, 1).contiguous()


def merged_numbers(channels: Sequence[int]) -> int:
    """Return how many numbers the merged kernels of a model are, given the channels of its levels, the largest first.

    Every level but the one of the largest pictures doubles what it gives.
    """
    return sum(16 * each**2 for each in channels[1:])


class Upsampler:
    """Runs diffusers' ``Upsample2D``; the kernel is merged when it is made, from the weights as they are then."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.kernel_IOKK = channels_last(merged_kernel(module.conv.weight.detach())) if is_plain(module.conv) else None

    def __call__(self, states_FCYX: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the states at another size; the merged kernel serves where that is exactly twice theirs."""
        conv: nn.Conv2d = self.module.conv
        if self.kernel_IOKK is None or not is_plain(conv):
            made_FCYX: Tensor = self.module(states_FCYX, size)
            return made_FCYX
        # Moved, because the weights may be put away while the states are read by the next level.
        device = states_FCYX.device
        bias_O = None if conv.bias is None else conv.bias.to(device)
        rows, columns = states_FCYX.shape[2:]
        if size == (2 * rows, 2 * columns):
            return functional.conv_transpose2d(states_FCYX, self.kernel_IOKK.to(device), bias_O, stride=2, padding=1)
        return functional.conv2d(functional.interpolate(states_FCYX, size), conv.weight.to(device), bias_O, padding=1)
