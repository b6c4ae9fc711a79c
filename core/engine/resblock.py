"""The spatio-temporal residual block: a spatial block over chunks of frames, then a temporal one over chunks of pixels.

Shape suffixes: F = frames, C = channels, Y, X = rows, columns, P = pixels, R = rows of the embedding, 1 or F,
O = channels out, K = kernel.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from .blend import share_of_temporal
from .layout import in_turn, side_by_side, tokens_of
from .moments import Moments, group_norm, moments_bytes, moments_of, normalise
from .split import Source, Split
from .times import TimeEmbedding, rows_of
from .wrapped import is_plain


class ResBlock:
    """Runs diffusers' ``SpatioTemporalResBlock`` with its own parameters."""

    def __init__(self, module: Any) -> None:
        self.spatial = module.spatial_res_block
        self.temporal = module.temporal_res_block
        self.share = share_of_temporal(module.time_mixer)

    def __call__(self, source: Source, time: TimeEmbedding | None, split: Split) -> Tensor:
        """Return the block's output, (F, C, Y, X), as a tensor of its own."""
        states_FCYX, moments = self._spatial(source, time, split)
        self._temporal(tokens_of(states_FCYX), moments, time, split)
        return states_FCYX

    def _spatial(self, source: Source, time: TimeEmbedding | None, split: Split) -> tuple[Tensor, Moments]:
        """Return the spatial part's output and the moments of the temporal part's first norm, taken on the way."""
        time_RC = time.project(self.spatial.time_emb_proj) if time else None
        groups = self.temporal.norm1.num_groups
        frames, channels = source.shape[:2]
        each = source.pixels * resnet_bytes(
            channels, self.spatial.out_channels, self.spatial.norm1.weight.element_size()
        )
        whole = split.hold(frames, source.spent)
        parts: list[Moments] = []

        def run(chunk: slice) -> None:  # so that nothing holds on to what a chunk made while the next one is at work
            place = split.place_of(chunk)
            made_FCYX = split.ready(spatial_resnet)(self.spatial, source.read(chunk), rows_of(time_RC, place))
            counted_FCYX = split.counted_of(made_FCYX, place.start)
            if len(counted_FCYX):
                parts.append(split.ready(moments_of)(tokens_of(counted_FCYX), groups))
            whole.put(chunk, made_FCYX)

        for chunk in split.over_frames(frames, each):
            run(chunk)
        return whole.states, split.merged(parts)

    def _temporal(self, states_FPC: Tensor, moments: Moments, time: TimeEmbedding | None, split: Split) -> None:
        """Add the temporal part's residual, with its share of the blend, to the states in place.

        The blend a·x + (1 - a)·(x + residual) is x + (1 - a)·residual.
        """
        block, kept, frames = self.temporal, [], split.frames_of(states_FPC)
        plus_RC = plus_of(block.conv1, time.project(block.time_emb_proj) if time else None)
        moments = moments.for_each_frame(frames)
        groups = block.norm2.num_groups
        each = temporal_bytes(states_FPC.shape[2], states_FPC.element_size())

        def measure(_: int, part_FPC: Tensor) -> Moments:
            hidden_FPC = split.ready(first_half)(block, part_FPC, moments, split.videos)
            if split.keep:
                kept.append(hidden_FPC)
            return split.ready(moments_of)(split.counted_of(hidden_FPC), groups, plus_RC)

        between = split.merged(split.over_pixels(measure, states_FPC, each, writes=False)).for_each_frame(frames)

        def add_residual(number: int, part_FPC: Tensor) -> None:
            first, second = split.ready(first_half), split.ready(second_half)
            hidden_FPC = kept[number] if split.keep else first(block, part_FPC, moments, split.videos)
            # The share is not the compiler's: it would compile the block anew for each.
            part_FPC.add_(second(block, hidden_FPC, between, plus_RC, split.videos), alpha=self.share)

        split.over_pixels(add_residual, states_FPC, each)


def first_half(block: Any, states_FPC: Tensor, moments: Moments, videos: int = 1) -> Tensor:
    """Return what diffusers' ``TemporalResnetBlock`` has between its convolutions, without :func:`plus_of` the first.

    ``moments`` are of its norm1.
    """
    return temporal_conv(block.conv1, normalise(states_FPC, moments, block.norm1), videos, biased=False)


def second_half(block: Any, hidden_FPC: Tensor, moments: Moments, plus_RC: Tensor | None, videos: int = 1) -> Tensor:
    """Return what it makes of that; ``moments`` are of its norm2."""
    return temporal_conv(block.conv2, normalise(hidden_FPC, moments, block.norm2, plus_RC), videos)


def spatial_resnet(block: Any, states_FCYX: Tensor, time_RC: Tensor | None) -> Tensor:
    """Return what diffusers' ``ResnetBlock2D`` gives for some frames; the time embedding is projected already."""
    hidden_FCYX = _without_bias(block.conv1, group_norm(states_FCYX, block.norm1))
    hidden_FCYX = block.conv2(group_norm(hidden_FCYX, block.norm2, plus_of(block.conv1, time_RC)))
    shortcut_FCYX = states_FCYX if block.conv_shortcut is None else block.conv_shortcut(states_FCYX)
    output_FCYX: Tensor = hidden_FCYX.add_(shortcut_FCYX)
    return output_FCYX


def plus_of(conv: nn.Conv2d | nn.Conv3d, rows_RC: Tensor | None) -> Tensor | None:
    """Return what a convolution's result lacks that the norm after it takes in: its bias, and a row of time.

    A layer that is not plain adds its own bias.
    """
    bias_C = conv.bias if is_plain(conv) else None
    if bias_C is None or rows_RC is None:
        return rows_RC if bias_C is None else bias_C[None]
    return rows_RC + bias_C


def _without_bias(conv: nn.Conv2d, states_FCYX: Tensor) -> Tensor:
    if not is_plain(conv):
        made_FCYX: Tensor = conv(states_FCYX)
        return made_FCYX
    return functional.conv2d(states_FCYX, conv.weight, padding=conv.padding)


def temporal_conv(conv: nn.Conv3d, states_FPC: Tensor, videos: int = 1, *, biased: bool = True) -> Tensor:
    """Return the convolution over frames, as one in two dimensions, frames by pixels; pixels need no neighbours.

    Its bias may be left to the norm after it (:func:`plus_of`); a layer that is not plain adds its own all the same.
    """
    states_1FPC = side_by_side(states_FPC, videos)[None]
    states_1CFP = states_1FPC.permute(0, 3, 1, 2)  # in this order, or PyTorch does not see that channels are last
    if is_plain(conv):
        padding, bias_C = (conv.kernel_size[0] // 2, 0), conv.bias if biased else None
        made_1CFP = functional.conv2d(states_1CFP, conv.weight[..., 0], bias_C, padding=padding)
    else:
        made_1CFP = conv(states_1CFP[..., None])[..., 0]
    return in_turn(made_1CFP[0].permute(1, 2, 0), videos)


def resnet_bytes(channels_in: int, channels: int, number: int) -> int:
    """Return how much one pixel takes in ``spatial_resnet`` and the moments after it, at ``number`` bytes a number."""
    return max(
        number * max(2 * channels_in + channels, channels_in + 3 * channels),
        number * channels_in + moments_bytes(channels_in, number),
        number * (channels_in + channels) + moments_bytes(channels, number),
    )


def temporal_bytes(channels: int, number: int) -> int:
    """Return how much one pixel of one frame takes in the temporal part."""
    return number * 3 * channels + moments_bytes(channels, number)
