"""SVD's decoder, from latents to pictures, with the UNet's residual blocks and their chunks.

Unlike the UNet it has no temporal attention, no embedding of time and no skips.

Shape suffixes: F = frames, C = channels, Y, X = rows, columns, R = red, green, blue, P = pixels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .layout import channels_last, tokens_of
from .moments import group_norm
from .resample import Upsampler
from .resblock import ResBlock, temporal_conv
from .split import Source, Split
from .walk import Walk
from .wrapped import check_blocks, check_weights


class DecoderEngine:
    """Runs the ``TemporalDecoder`` of an ``AutoencoderKLTemporalDecoder`` with its own parameters.

    Args:
        vae: of SVD, in diffusers' class.

    Raises:
        LongtakeError: weights cannot be read, or something is wrapped around blocks that would be passed over.

    """

    def __init__(self, vae: Any) -> None:
        check_weights(vae)
        self.decoder = vae.decoder
        check_blocks(vae.decoder, "decoder", called=r"(^|\.)attentions\.\d")
        middle = vae.decoder.mid_block
        self._first, *self._others = [ResBlock(module) for module in middle.resnets]
        self._attentions = list(middle.attentions)
        self._levels = [
            ([ResBlock(module) for module in block.resnets], [Upsampler(module) for module in block.upsamplers or ()])
            for block in vae.decoder.up_blocks
        ]

    @torch.no_grad()
    def run(self, latents_FCYX: Tensor, split: Split) -> Tensor:
        """Return the pictures of all frames, (F, 3, H, W) in about [-1, 1], given unscaled latents of one video.

        What a block is given is spent when it has been read: nothing else needs it, unlike in the UNet.
        """
        walk = Walk(channels_last(latents_FCYX), split, None)
        walk.each(self.decoder.conv_in, self.decoder.conv_in.out_channels)
        walk.resnet(self._first, split.source(walk.states, spent=True))
        for resnet, attention in zip(self._others, self._attentions, strict=False):  # as diffusers pairs them
            walk.each(attention, 6 * walk.states.shape[1])
            walk.resnet(resnet, split.source(walk.states, spent=True))
        enlarge: list[Upsampler] = []
        for resnets, upsamplers in self._levels:
            for resnet in resnets:
                walk.resnet(resnet, _enlarged(walk.states, enlarge, split))
                enlarge = []
            enlarge = upsamplers
        walk.each(self._colours, 4 * walk.states.shape[1])
        self._over_time(walk.states, split)
        return walk.states

    def _colours(self, states_FCYX: Tensor) -> Tensor:
        colours_FRYX: Tensor = self.decoder.conv_out(group_norm(states_FCYX, self.decoder.conv_norm_out))
        return colours_FRYX

    def _over_time(self, colours_FRYX: Tensor, split: Split) -> None:
        """Let the last convolution, over frames, make new colours in the place of these."""

        def mix(_: int, part_FPR: Tensor) -> None:
            part_FPR.copy_(temporal_conv(self.decoder.time_conv_out, part_FPR))

        colours_FPR = tokens_of(colours_FRYX)
        split.over_pixels(mix, colours_FPR, 2 * colours_FPR.shape[2] * colours_FPR.element_size())


def _enlarged(states: Tensor, enlarge: list[Upsampler], split: Split) -> Source:
    """Return the states as a source, twice as large where there is an up-sampler, chunk by chunk."""
    if not enlarge:
        return split.source(states, spent=True)
    frames, channels, rows, columns = states.shape
    size = (2 * rows, 2 * columns)
    return Source(torch.Size((frames, channels, *size)), lambda chunk: enlarge[0](split.bring(states[chunk]), size))
