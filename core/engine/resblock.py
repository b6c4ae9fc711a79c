"""The spatio-temporal residual block: a spatial block over chunks of frames, then a temporal one over chunks of pixels.

Shape suffixes: F = frames, C = channels, Y, X = rows, columns, P = pixels, R = rows of the embedding, 1 or F,
O = channels out, K = kernel.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from .blend import share_of_temporal
from .moments import Moments, moments_bytes, moments_of, moments_of_frames, normalise
from .split import Source, Split
from .times import TimeEmbedding, rows_of
from .wrapped import bias_plus, is_plain


class ResBlock:
    """Runs diffusers' ``SpatioTemporalResBlock`` with its own parameters."""

    def __init__(self, module: Any) -> None:
        self.spatial = module.spatial_res_block
        self.temporal = module.temporal_res_block
        self.share = share_of_temporal(module.time_mixer)

    def __call__(self, source: Source, time: TimeEmbedding | None, split: Split) -> Tensor:
        """Return the block's output, (F, C, Y, X), as a tensor of its own."""
        states_FCYX, moments = self._spatial(source, time, split)
        self._temporal(states_FCYX.flatten(2), moments, time, split)
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
                parts.append(moments_of_frames(counted_FCYX.flatten(2), groups))
            whole.put(chunk, made_FCYX)

        for chunk in split.over_frames(frames, each):
            run(chunk)
        return whole.states, split.merge(parts)

    def _temporal(self, states_FCP: Tensor, moments: Moments, time: TimeEmbedding | None, split: Split) -> None:
        """Add the temporal part's residual, with its share of the blend, to the states in place.

        The blend a·x + (1 - a)·(x + residual) is x + (1 - a)·residual.
        """
        block, kept = self.temporal, []
        time_RC = time.project(block.time_emb_proj) if time else None
        groups = block.norm2.num_groups
        each = temporal_bytes(states_FCP.shape[1], states_FCP.element_size())

        def measure(_: int, part_FCP: Tensor) -> Moments:
            hidden_CFP = split.ready(first_half)(block, part_FCP, moments, time_RC)
            if split.keep:
                kept.append(hidden_CFP)
            return moments_of(split.counted_of(hidden_CFP, dim=1).reshape(groups, -1))

        between = split.merge(split.over_pixels(measure, states_FCP, 2, each, writes=False))

        def add_residual(number: int, part_FCP: Tensor) -> None:
            hidden_CFP = kept[number] if split.keep else split.ready(first_half)(block, part_FCP, moments, time_RC)
            residual_CFP = split.ready(second_half)(block, hidden_CFP, between)
            part_FCP.add_(residual_CFP.transpose(0, 1), alpha=self.share)

        split.over_pixels(add_residual, states_FCP, 2, each)


def first_half(block: Any, states_FCP: Tensor, moments: Moments, time_RC: Tensor | None) -> Tensor:
    """Return what diffusers' ``TemporalResnetBlock`` has between its convolutions; ``moments`` are of its norm1."""
    active_FCP = functional.silu(normalise(states_FCP, moments, block.norm1), inplace=True)
    return temporal_conv(block.conv1, active_FCP.transpose(0, 1), time_RC)


def second_half(block: Any, hidden_CFP: Tensor, moments: Moments) -> Tensor:
    """Return what it makes of that; ``moments`` are of its norm2."""
    active_1CFP = functional.silu(normalise(hidden_CFP[None], moments, block.norm2), inplace=True)
    return temporal_conv(block.conv2, active_1CFP[0])


def spatial_resnet(block: Any, states_FCYX: Tensor, time_RC: Tensor | None) -> Tensor:
    """Return what diffusers' ``ResnetBlock2D`` gives for some frames; the time embedding is projected already."""
    hidden_FCYX = functional.silu(block.norm1(states_FCYX), inplace=True)
    hidden_FCYX = _conv_plus(block.conv1, hidden_FCYX, time_RC)
    hidden_FCYX = block.conv2(functional.silu(block.norm2(hidden_FCYX), inplace=True))
    shortcut_FCYX = states_FCYX if block.conv_shortcut is None else block.conv_shortcut(states_FCYX)
    output_FCYX: Tensor = hidden_FCYX.add_(shortcut_FCYX)
    return output_FCYX


def _conv_plus(conv: nn.Conv2d, states_FCYX: Tensor, rows_RC: Tensor | None) -> Tensor:
    """Return the convolution plus a row for all frames, which the bias takes in, or one for each."""
    if rows_RC is not None and len(rows_RC) == 1 and is_plain(conv):
        return functional.conv2d(states_FCYX, conv.weight, bias_plus(conv, rows_RC[0]), padding=1)
    made_FCYX: Tensor = conv(states_FCYX)
    return made_FCYX if rows_RC is None else made_FCYX.add_(rows_RC[:, :, None, None])


def temporal_conv(conv: nn.Conv3d, states_CFP: Tensor, rows_RC: Tensor | None = None) -> Tensor:
    """Return the convolution over frames, as one in two dimensions, frames by pixels; pixels need no neighbours."""
    if not is_plain(conv):
        made_CFP: Tensor = conv(states_CFP[None, ..., None])[0, ..., 0]
        return made_CFP if rows_RC is None else made_CFP.add_(rows_RC.T[:, :, None])
    weight_OCK1, reach = conv.weight[..., 0], conv.kernel_size[0] // 2
    if rows_RC is not None and len(rows_RC) == 1:
        return functional.conv2d(states_CFP[None], weight_OCK1, bias_plus(conv, rows_RC[0]), padding=(reach, 0))[0]
    made_CFP = functional.conv2d(states_CFP[None], weight_OCK1, conv.bias, padding=(reach, 0))[0]
    return made_CFP if rows_RC is None else made_CFP.add_(rows_RC.T[:, :, None])


def resnet_bytes(channels_in: int, channels: int, number: int) -> int:
    """Return how much one pixel takes in ``spatial_resnet`` and the moments after it, at ``number`` bytes a number."""
    working = number * max(2 * channels_in + channels, channels_in + 3 * channels)
    return max(working, number * channels + moments_bytes(channels, number))


def temporal_bytes(channels: int, number: int) -> int:
    """Return how much one pixel of one frame takes in the temporal part."""
    return number * 3 * channels + moments_bytes(channels, number)
