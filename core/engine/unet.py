"""One call of SVD's UNet, block by block, on one video or on a few whose frames take turns.

The stock forward repeats everything per frame and runs each block on all frames of all videos. This walk takes the same
blocks in the same order with the same parameters, but reads inputs of blocks chunk by chunk: skips are joined, and
frames made larger, only for the frames that are being worked on. See docs/numerics.md for why it is the same.

Shape suffixes: F = frames of all videos, V = videos, C = channels, Y, X = rows, columns, K = channels of the image
embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .layout import channels_last
from .moments import group_norm
from .resample import Upsampler
from .resblock import ResBlock
from .reuse import Reuse
from .skips import Skips
from .split import Source, Split
from .times import TimeEmbedding
from .transformer import Strategies, Transformer
from .walk import Walk
from .wrapped import at_work, check_blocks, check_weights

DEPTH = 1  # layers at full resolution that run in every call, where deep features are used again


class Engine:
    """Runs an ``UNetSpatioTemporalConditionModel`` with its own parameters.

    What is merged from weights is merged here, from the weights as they are now.

    Args:
        unet: of SVD, in diffusers' class.
        strategies: which the temporal blocks ask.
        split: how the work is shared out; it may be replaced between calls.
        make_skips: makes the place for what the way down hands to the way up, once for each call.

    Raises:
        LongtakeError: weights cannot be read, or something is wrapped around them that would be passed over.

    """

    def __init__(
        self, unet: Any, strategies: Strategies, split: Split, make_skips: Callable[[], Skips] = Skips
    ) -> None:
        check_weights(unet)
        check_blocks(unet, "UNet", called="^$")  # the UNet itself is called
        self.unet = unet
        self.strategies = strategies
        self.split = split
        self.make_skips = make_skips
        self.reuse: Reuse | None = None  # of deep features from call to call; off
        self._down = [_Level(block) for block in unet.down_blocks]
        self._middle = _Level(unet.mid_block)
        self._up = [_Level(block) for block in unet.up_blocks]

    @torch.no_grad()
    def run(self, sample_FCYX: Tensor, token_VK: Tensor, time: TimeEmbedding, branch: Hashable = None) -> Tensor:
        """Return the UNet's output for one video, or for several at once.

        Args:
            sample_FCYX: scaled latents beside the image's; frame 0 of each video, then frame 1 of each, and so on.
            token_VK: of the image of each video.
            time: the embedding of noise level and conditioning, with one row for all frames or as many as frames.
            branch: tells calls apart whose deep features are not the same: videos, and with or without the image.

        Raises:
            ValueError: the split holds states in the host's memory.

        """
        if self.split.bring_to is not None:
            raise ValueError("states of the UNet are held on its device; skips may wait elsewhere (make_skips)")
        split = replace(self.split, videos=len(token_VK))
        call = _Call(channels_last(sample_FCYX), split, time, token_VK, self.strategies, self.make_skips())
        call.each(self.unet.conv_in, self.unet.conv_norm_out.num_channels)
        call.skips.put(call.states)
        deep = self.reuse.of(branch) if self.reuse else None
        if deep is None:
            self._whole(call, branch)
        else:
            self._shallow(call, deep)
        call.each(self._out, 4 * call.states.shape[1])
        return call.states

    def _whole(self, call: _Call, branch: Hashable) -> None:
        """Run every level; keep what comes out of the deep ones where it is to be used again."""
        for level in self._down:
            with at_work(level.module):
                level.down(call)
        with at_work(self._middle.module):
            self._middle.middle(call)
        enlarge: Upsampler | None = None
        for level in self._up[:-1]:
            with at_work(level.module):
                level.up(call, enlarge)
            enlarge = level.upsampler
        last = self._up[-1]
        with at_work(last.module):
            if self.reuse is None:
                last.up(call, enlarge)
                return
            last.up(call, enlarge, last=-DEPTH)
            self.reuse.keep(branch, call.skips.store(call.states))
            last.up(call, None, first=-DEPTH)

    def _shallow(self, call: _Call, deep: Source) -> None:
        """Run only the blocks next to input and output, and take what the deep ones gave in an earlier call."""
        last = self._up[-1]
        with at_work(self._down[0].module):
            self._down[0].down(call, layers=DEPTH - 1)
        with at_work(last.module):
            last.up(call, None, first=-DEPTH, below=deep)

    def _out(self, states_FCYX: Tensor) -> Tensor:
        output_FCYX: Tensor = self.unet.conv_out(group_norm(states_FCYX, self.unet.conv_norm_out))
        return output_FCYX


@dataclass(slots=True)
class _Call(Walk):
    """One call on its way, with what only the UNet has."""

    token_VK: Tensor
    strategies: Strategies
    skips: Skips

    def attend(self, block: Transformer | None) -> None:
        if block is not None:
            block(self.states, self.token_VK, self.strategies, self.split)


class _Level:
    """The blocks at one resolution."""

    def __init__(self, block: Any) -> None:
        self.module = block
        self.resnets = [ResBlock(module) for module in block.resnets]
        attentions: list[Transformer | None] = [Transformer(module) for module in getattr(block, "attentions", ())]
        self.attentions = attentions or [None] * len(self.resnets)
        self.downsamplers = list(getattr(block, "downsamplers", None) or ())
        upsamplers = [Upsampler(module) for module in getattr(block, "upsamplers", None) or ()]
        self.upsampler = upsamplers[0] if upsamplers else None

    def down(self, call: _Call, layers: int | None = None) -> None:
        """Run a level on the way down, or its first layers; what it hands on is also kept for the way up."""
        for resnet, attention in list(zip(self.resnets, self.attentions, strict=True))[:layers]:
            call.resnet(resnet)
            call.attend(attention)
            call.skips.put(call.states)
        if layers is not None:
            return
        for smaller in self.downsamplers:
            call.each(smaller, call.states.shape[1])
            call.skips.put(call.states)

    def middle(self, call: _Call) -> None:
        """Run the lowest level: one residual block more than transformers."""
        call.resnet(self.resnets[0])
        for resnet, attention in zip(self.resnets[1:], self.attentions, strict=True):
            call.attend(attention)
            call.resnet(resnet)

    def up(
        self,
        call: _Call,
        enlarge: Upsampler | None,
        *,
        first: int | None = None,
        last: int | None = None,
        below: Source | None = None,
    ) -> None:
        """Run a level on the way up, or some of its layers.

        The first block enlarges what comes from below while it reads it; that may be another source than the states.
        """
        for resnet, attention in list(zip(self.resnets, self.attentions, strict=True))[first:last]:
            # In one expression, so that no name holds on to the states while the attention works.
            call.resnet(resnet, _joined(below or Source.of(call.states), enlarge, call.skips.take()))
            call.attend(attention)
            enlarge = below = None


def _joined(states: Source, enlarge: Upsampler | None, skip: Source) -> Source:
    """Return the input of a block on the way up: the states, enlarged where they come from below, and the skip."""
    frames, channels, rows, columns = skip.shape

    def read(chunk: slice) -> Tensor:
        below = states.read(chunk)
        return torch.cat([enlarge(below, (rows, columns)) if enlarge else below, skip.read(chunk)], dim=1)

    return Source(torch.Size((frames, states.shape[1] + channels, rows, columns)), read)
