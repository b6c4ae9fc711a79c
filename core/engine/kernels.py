"""Kernels in Triton: group norm with SiLU for channels last, norm of tokens, and the gate of a feed-forward.

PyTorch's group norm copies states with channels last into another layout and back; its SiLU, and the gate's product,
are passes over memory of their own. Here statistics take one pass, norm and SiLU one, norm of tokens one, GELU and
product one.

Shape suffixes: F = frames, P = pixels, C = channels, G = groups, R = rows of factors, 1 or F.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any, TypeVar

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

PIXELS, CHANNELS = 128, 64  # of a block: 64 channels in half precision are a line of the cache
NUMBERS = 4096  # of a block where rows do not matter
Launch = TypeVar("Launch", bound=Callable[..., Any])
_numbers = partial(torch.empty, dtype=torch.float32)


def on_its_device(launch: Launch) -> Launch:
    """Let kernels be launched on the device of the first tensor: Triton takes the current one."""

    @wraps(launch)
    def call(first: Tensor, *others: Any, **options: Any) -> Any:
        with torch.cuda.device_of(first):
            return launch(first, *others, **options)

    return call  # type: ignore[return-value]


def probe(device: torch.device, dtype: torch.dtype) -> None:
    """Run every kernel once: one that does not run here raises what it will."""
    states_FPC = torch.ones(1, 2, 8, device=device, dtype=dtype)
    norm = nn.GroupNorm(2, 8, device=device, dtype=dtype)
    normalised(states_FPC, 8, *moments(states_FPC, 2, states_FPC[:, 0]), norm, states_FPC[:, 0], silu=True)
    gated_(states_FPC, layer_normed(states_FPC, nn.LayerNorm(8, device=device, dtype=dtype)))


@on_its_device
def moments(states_FPC: Tensor, groups: int, plus_RC: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return mean and sum of squared deviations of each frame's groups of channels, (F, G) each in float32.

    They are those of the states plus a row for each frame or for all, if there is one.
    """
    frames, pixels, channels = states_FPC.shape
    blocks, each = triton.cdiv(pixels, PIXELS), channels // groups
    of_blocks_2FBC = _numbers(2, frames, blocks, channels, device=states_FPC.device)
    _moments_of_blocks[(blocks, frames, triton.cdiv(channels, CHANNELS))](
        states_FPC, *_rows(plus_RC, states_FPC), *of_blocks_2FBC, pixels, channels, *states_FPC.stride()[:2],
        PIXELS, CHANNELS,
    )  # fmt: skip
    of_groups_2FG = _numbers(2, frames, groups, device=states_FPC.device)
    _moments_of_groups[(frames, groups)](
        *of_blocks_2FBC, *of_groups_2FG, blocks, pixels, channels, each,
        triton.next_power_of_2(each), PIXELS, triton.next_power_of_2(blocks), num_warps=8,
    )  # fmt: skip
    mean_FG, squares_FG = of_groups_2FG
    return mean_FG, squares_FG


@on_its_device
def normalised(
    states_FPC: Tensor, total: int, mean_RG: Tensor, squares_RG: Tensor, norm: nn.GroupNorm, plus_RC: Tensor | None,
    *, silu: bool,
) -> Tensor:  # fmt: skip
    """Return what a group norm gives where the statistics are these, and SiLU of it where asked."""
    frames, pixels, channels = states_FPC.shape
    made_FPC = torch.empty(frames, pixels, channels, dtype=states_FPC.dtype, device=states_FPC.device)
    _normalised[(triton.cdiv(pixels, PIXELS), frames, triton.cdiv(channels, CHANNELS))](
        states_FPC, *_rows(plus_RC, states_FPC), mean_RG.contiguous(), squares_RG.contiguous(), norm.weight, norm.bias,
        made_FPC, pixels, channels, *states_FPC.stride()[:2],
        norm.num_groups if len(mean_RG) > 1 else 0, channels // norm.num_groups, float(total), norm.eps, silu,
        PIXELS, CHANNELS,
    )  # fmt: skip
    return made_FPC


@on_its_device
def layer_normed(states_FPC: Tensor, norm: nn.LayerNorm) -> Tensor:
    """Return what a norm over the channels of each token gives."""
    frames, pixels, channels = states_FPC.shape
    made_FPC = torch.empty(frames, pixels, channels, dtype=states_FPC.dtype, device=states_FPC.device)
    wide = triton.next_power_of_2(channels)
    tokens = max(1, NUMBERS // wide)
    _layer_normed[(triton.cdiv(pixels, tokens), frames)](
        states_FPC, norm.weight, norm.bias, made_FPC, pixels, channels, *states_FPC.stride()[:2], norm.eps, tokens, wide
    )
    return made_FPC


def _rows(plus_RC: Tensor | None, other: Tensor) -> tuple[Tensor, int, bool]:
    """Return what a kernel is told of rows that are added: the rows, how far they are apart, whether there are any."""
    if plus_RC is None:
        return other, 0, False
    return plus_RC.contiguous(), plus_RC.shape[1] if len(plus_RC) > 1 else 0, True


@on_its_device
def gated_(gate: Tensor, hidden: Tensor) -> Tensor:
    """Return GELU of the gate times the hidden states, in the place of the gate; both are contiguous."""
    number = gate.numel()
    _gated[(triton.cdiv(number, NUMBERS),)](gate, hidden, number, NUMBERS)
    return gate


@triton.jit
def _moments_of_blocks(  # type: ignore[no-untyped-def]
    states, plus, plus_stride, has_plus: tl.constexpr, means, squares, pixels, channels, frame_stride, pixel_stride,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    block, frame = tl.program_id(0), tl.program_id(1).to(tl.int64)
    pixel = block * PIXELS + tl.arange(0, PIXELS)
    channel = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    inside = (pixel < pixels)[:, None] & (channel < channels)[None, :]
    place = frame * frame_stride + pixel.to(tl.int64)[:, None] * pixel_stride + channel[None, :]
    numbers = tl.load(states + place, mask=inside, other=0.0).to(tl.float32)
    mean = tl.sum(numbers, 0) / tl.minimum(PIXELS, pixels - block * PIXELS)
    away = tl.where(inside, numbers - mean[None, :], 0.0)
    made = (frame * tl.num_programs(0) + block) * channels + channel
    if has_plus:
        mean += tl.load(plus + frame * plus_stride + channel, mask=channel < channels, other=0.0).to(tl.float32)
    tl.store(means + made, mean, mask=channel < channels)
    tl.store(squares + made, tl.sum(away * away, 0), mask=channel < channels)


@triton.jit
def _moments_of_groups(  # type: ignore[no-untyped-def]
    means, squares, group_means, group_squares, blocks, pixels, channels, each,
    EACH: tl.constexpr, PIXELS: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    frame, group = tl.program_id(0).to(tl.int64), tl.program_id(1)
    channel = tl.arange(0, EACH)
    block = tl.arange(0, BLOCKS)
    inside = (block < blocks)[:, None] & (channel < each)[None, :]
    place = (frame * blocks + block)[:, None] * channels + group * each + channel[None, :]
    counts = tl.minimum(PIXELS, pixels - block * PIXELS)[:, None].to(tl.float32)
    of_blocks = tl.load(means + place, mask=inside, other=0.0)
    total = tl.where(inside, counts * of_blocks, 0.0)
    mean = tl.sum(tl.sum(total, 1), 0) / (pixels * each)
    away = of_blocks - mean
    spread = tl.where(inside, tl.load(squares + place, mask=inside, other=0.0) + counts * away * away, 0.0)
    made = frame * tl.num_programs(1) + group
    tl.store(group_means + made, mean)
    tl.store(group_squares + made, tl.sum(tl.sum(spread, 1), 0))


@triton.jit
def _normalised(  # type: ignore[no-untyped-def]
    states, plus, plus_stride, has_plus: tl.constexpr, means, squares, weight, bias, made, pixels, channels,
    frame_stride, pixel_stride, groups_stride, each, total, eps,
    SILU: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    frame = tl.program_id(1).to(tl.int64)
    pixel = (tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)).to(tl.int64)
    channel = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    known = channel < channels
    inside = (pixel < pixels)[:, None] & known[None, :]
    numbers = tl.load(
        states + frame * frame_stride + pixel[:, None] * pixel_stride + channel[None, :], mask=inside, other=0.0
    )
    group = frame * groups_stride + channel // each
    mean = tl.load(means + group, mask=known, other=0.0)
    if has_plus:
        mean -= tl.load(plus + frame * plus_stride + channel, mask=known, other=0.0).to(tl.float32)
    factor = tl.rsqrt(tl.load(squares + group, mask=known, other=0.0) / total + eps)
    scale = factor * tl.load(weight + channel, mask=known, other=0.0).to(tl.float32)
    shift = tl.load(bias + channel, mask=known, other=0.0).to(tl.float32)
    result = (numbers.to(tl.float32) - mean[None, :]) * scale[None, :] + shift[None, :]
    if SILU:
        result = result * tl.sigmoid(result)
    place = (frame * pixels + pixel)[:, None] * channels + channel[None, :]
    tl.store(made + place, result.to(made.dtype.element_ty), mask=inside)


@triton.jit
def _layer_normed(  # type: ignore[no-untyped-def]
    states, weight, bias, made, pixels, channels, frame_stride, pixel_stride, eps,
    TOKENS: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    frame = tl.program_id(1).to(tl.int64)
    pixel = (tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)).to(tl.int64)
    channel = tl.arange(0, WIDE)
    known = channel < channels
    inside = (pixel < pixels)[:, None] & known[None, :]
    place = states + frame * frame_stride + pixel[:, None] * pixel_stride + channel[None, :]
    numbers = tl.load(place, mask=inside, other=0.0).to(tl.float32)
    away = tl.where(inside, numbers - (tl.sum(numbers, 1) / channels)[:, None], 0.0)
    factor = tl.rsqrt(tl.sum(away * away, 1) / channels + eps)
    scale = tl.load(weight + channel, mask=known, other=0.0).to(tl.float32)
    shift = tl.load(bias + channel, mask=known, other=0.0).to(tl.float32)
    result = away * factor[:, None] * scale[None, :] + shift[None, :]
    place = made + (frame * pixels + pixel)[:, None] * channels + channel[None, :]
    tl.store(place, result.to(made.dtype.element_ty), mask=inside)


@triton.jit
def _gated(gate, hidden, number, NUMBERS: tl.constexpr):  # type: ignore[no-untyped-def]
    place = tl.program_id(0).to(tl.int64) * NUMBERS + tl.arange(0, NUMBERS)
    inside = place < number
    opening = tl.load(gate + place, mask=inside, other=0.0).to(tl.float32)
    passing = tl.load(hidden + place, mask=inside, other=0.0).to(tl.float32)
    opening = 0.5 * opening * (1 + tl.erf(opening * 0.7071067811865476))
    tl.store(gate + place, (opening * passing).to(gate.dtype.element_ty), mask=inside)
