"""One call of SVD's UNet, block by block, on one video at a time.

The stock forward repeats everything per frame and runs each block on all frames of all videos. This walk takes the same
blocks in the same order with the same parameters, but reads inputs of blocks chunk by chunk: skips are joined, and
frames made larger, only for the frames that are being worked on. See docs/numerics.md for why it is the same.

Shape suffixes: B = batch, F = frames, C = channels, Y, X = rows, columns, K = channels of the image embedding, R = rows
of the embedding, 1 or F.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from .resample import Upsampler
from .resblock import Reader, ResBlock
from .split import Split, Whole
from .times import TimeEmbedding
from .transformer import Strategies, Transformer
from .wrapped import at_work


class Engine:
    """Runs an ``UNetSpatioTemporalConditionModel`` with its own parameters.

    What is merged from weights is merged here, from the weights as they are now.

    Args:
        unet: of SVD, in diffusers' class.
        strategies: which the temporal blocks ask.
        split: how the work is shared out.

    """

    def __init__(self, unet: Any, strategies: Strategies, split: Split) -> None:
        self.unet = unet
        self.strategies = strategies
        self.split = split
        self._down = [_Level(block) for block in unet.down_blocks]
        self._middle = _Level(unet.mid_block)
        self._up = [_Level(block) for block in unet.up_blocks]

    @torch.no_grad()
    def run(self, sample_FCYX: Tensor, token_1K: Tensor, embedding_RC: Tensor) -> Tensor:
        """Return the UNet's output for one video.

        Args:
            sample_FCYX: scaled latents beside the image's.
            token_1K: of the image.
            embedding_RC: of noise level and conditioning, one row or one for each frame.

        """
        call = _Call(len(sample_FCYX), TimeEmbedding(embedding_RC), token_1K, self.strategies, self.split)
        states = call.each(lambda chunk: self.unet.conv_in(sample_FCYX[chunk]))
        skips = [states]
        for level in self._down:
            with at_work(level.module):
                states = level.down(states, skips, call)
        with at_work(self._middle.module):
            states = self._middle.middle(states, call)
        enlarge: Upsampler | None = None
        for level in self._up:
            with at_work(level.module):
                states = level.up(states, enlarge, skips, call)
            enlarge = level.upsampler
        return call.each(lambda chunk: self._out(states[chunk]))

    def _out(self, states_FCYX: Tensor) -> Tensor:
        active_FCYX = functional.silu(self.unet.conv_norm_out(states_FCYX), inplace=True)
        output_FCYX: Tensor = self.unet.conv_out(active_FCYX)
        return output_FCYX


class _Call:
    """What stays the same from block to block within one call."""

    def __init__(
        self, frames: int, time: TimeEmbedding, token_1K: Tensor, strategies: Strategies, split: Split
    ) -> None:
        self.frames = frames
        self.time = time
        self.token_1K = token_1K
        self.strategies = strategies
        self.split = split

    def each(self, read: Reader) -> Tensor:
        """Return what ``read`` gives for all frames."""
        whole = Whole(self.frames)
        for chunk in self.split.over_frames(self.frames):
            whole.put(chunk, read(chunk))
        return whole.states

    def resnet(self, block: ResBlock, read: Reader) -> Tensor:
        return block(read, self.frames, self.time, self.split)

    def attend(self, block: Transformer | None, states_FCYX: Tensor) -> None:
        if block is not None:
            block(states_FCYX, self.token_1K, self.strategies, self.split)


class _Level:
    """The blocks at one resolution."""

    def __init__(self, block: Any) -> None:
        self.module = block
        self.resnets = [ResBlock(module) for module in block.resnets]
        attentions: list[Transformer | None] = [Transformer(module) for module in getattr(block, "attentions", ())]
        self.attentions = attentions or [None] * len(self.resnets)
        self.downsamplers = list(getattr(block, "downsamplers", None) or ())
        self.upsamplers = [Upsampler(module) for module in getattr(block, "upsamplers", None) or ()]

    @property
    def upsampler(self) -> Upsampler | None:
        return self.upsamplers[0] if self.upsamplers else None

    def down(self, states: Tensor, skips: list[Tensor], call: _Call) -> Tensor:
        """Run a level on the way down; what it hands on is also kept for the way up."""
        for resnet, attention in zip(self.resnets, self.attentions, strict=True):
            states = call.resnet(resnet, states.__getitem__)
            call.attend(attention, states)
            skips.append(states)
        for smaller in self.downsamplers:
            states = call.each(_made_by(smaller, states))
            skips.append(states)
        return states

    def middle(self, states: Tensor, call: _Call) -> Tensor:
        """Run the lowest level: one residual block more than transformers."""
        states = call.resnet(self.resnets[0], states.__getitem__)
        for resnet, attention in zip(self.resnets[1:], self.attentions, strict=True):
            call.attend(attention, states)
            states = call.resnet(resnet, states.__getitem__)
        return states

    def up(self, states: Tensor, enlarge: Upsampler | None, skips: list[Tensor], call: _Call) -> Tensor:
        """Run a level on the way up; its first block enlarges what comes from below while it reads it."""
        for resnet, attention in zip(self.resnets, self.attentions, strict=True):
            states = call.resnet(resnet, _joined(states, enlarge, skips.pop()))
            call.attend(attention, states)
            enlarge = None
        return states


def _made_by(module: Any, states: Tensor) -> Reader:
    """Return the reader of what a module makes of the states."""
    return lambda chunk: module(states[chunk])


def _joined(states: Tensor, enlarge: Upsampler | None, skip: Tensor) -> Reader:
    """Return the reader of a block on the way up: the states, enlarged where they come from below, and the skip."""
    rows, columns = skip.shape[2:]

    def read(chunk: slice) -> Tensor:
        below = states[chunk]
        return torch.cat([enlarge(below, (rows, columns)) if enlarge else below, skip[chunk]], dim=1)

    return read
