"""SVD's decoder, from latents to pictures, with the UNet's residual blocks and their chunks.

Unlike the UNet it has no temporal attention, no embedding of time and no skips.

Shape suffixes: F = frames, C = channels, Y, X = rows, columns, R = red, green, blue, P = pixels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from .resample import Upsampler
from .resblock import ResBlock, temporal_conv
from .split import Source, Split
from .walk import Walk
from .wrapped import check_weights


class DecoderEngine:
    """Runs the ``TemporalDecoder`` of an ``AutoencoderKLTemporalDecoder`` with its own parameters.

    Args:
        vae: of SVD, in diffusers' class.

    """

    def __init__(self, vae: Any) -> None:
        check_weights(vae)
        self.decoder = vae.decoder
        middle = vae.decoder.mid_block
        self._first, *self._others = [ResBlock(module) for module in middle.resnets]
        self._attentions = list(middle.attentions)
        self._levels = [
            ([ResBlock(module) for module in block.resnets], [Upsampler(module) for module in block.upsamplers or ()])
            for block in vae.decoder.up_blocks
        ]

    @torch.no_grad()
    def run(self, latents_FCYX: Tensor, split: Split) -> Tensor:
        """Return the pictures of all frames, (F, 3, H, W) in about [-1, 1], given unscaled latents of one video."""
        walk = Walk(latents_FCYX, split, None)
        walk.each(self.decoder.conv_in, self.decoder.conv_in.out_channels)
        walk.resnet(self._first)
        for resnet, attention in zip(self._others, self._attentions, strict=False):  # as diffusers pairs them
            walk.each(attention, 6 * walk.states.shape[1])
            walk.resnet(resnet)
        enlarge: list[Upsampler] = []
        for resnets, upsamplers in self._levels:
            for resnet in resnets:
                walk.resnet(resnet, _enlarged(walk.states, enlarge))
                enlarge = []
            enlarge = upsamplers
        walk.each(self._colours, walk.states.shape[1])
        return self._over_time(walk.states)

    def _colours(self, states_FCYX: Tensor) -> Tensor:
        active_FCYX = functional.silu(self.decoder.conv_norm_out(states_FCYX), inplace=True)
        colours_FRYX: Tensor = self.decoder.conv_out(active_FCYX)
        return colours_FRYX

    def _over_time(self, colours_FRYX: Tensor) -> Tensor:
        """Return the colours after the last convolution over frames."""
        mixed_RFP = temporal_conv(self.decoder.time_conv_out, colours_FRYX.flatten(2).transpose(0, 1))
        mixed_FRYX: Tensor = mixed_RFP.transpose(0, 1).unflatten(2, colours_FRYX.shape[2:])
        return mixed_FRYX


def _enlarged(states: Tensor, enlarge: list[Upsampler]) -> Source:
    """Return the states as a source, twice as large where there is an up-sampler, chunk by chunk."""
    if not enlarge:
        return Source.of(states)
    frames, channels, rows, columns = states.shape
    size = (2 * rows, 2 * columns)
    return Source(torch.Size((frames, channels, *size)), lambda chunk: enlarge[0](states[chunk], size))
