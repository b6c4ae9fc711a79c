"""How long one call of the UNet takes: its multiplications, counted from its shape, at the rate that a device shows.

The multiplications are exact but for what every frame shares (embeddings of time, one image token). The rate is that of
the two kinds of work that nearly all of them are, measured for a moment on the device; what moves memory without
multiplying is in neither, and counts as a share of it. A prediction is one of the size of things.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .layout import channels_last
from .linear import run_linear
from .memory import Work

LARGEST = 2**24  # numbers of a frame that is measured: larger ones go at the same rate
MOMENT = 0.1  # seconds of measuring each kind of work
SLOW_SIDE = 8  # pixels: in half precision a CPU may take a minute for what it does in a moment in float32
# Norms, activations, sums and Python, set by hand between what two CPU cores took: 1.5 times as long as the products at
# a third of SVD's width, twice as long for the embedded model. On an H200 it was 1.65 for 25 frames and 1.6 for 80.
BESIDE = 1.75


@dataclass(frozen=True, slots=True)
class Operations:
    """Floating-point operations of one call, a multiplication and an addition being two.

    Attributes:
        convolutions: of residual blocks and between levels.
        products: of matrices: projections, feed-forwards and attention.

    """

    convolutions: float = 0
    products: float = 0

    def __add__(self, other: Operations) -> Operations:
        return Operations(self.convolutions + other.convolutions, self.products + other.products)


@dataclass(frozen=True, slots=True)
class Rate:
    """Operations a second that a device shows, for the two kinds of work."""

    convolutions: float
    products: float

    def seconds(self, operations: Operations) -> float:
        """Return how long so many operations take, with all that is done beside them."""
        return BESIDE * (operations.convolutions / self.convolutions + operations.products / self.products)


def count(work: Work, *, shallow: bool = False) -> Operations:
    """Return the operations of a call; of a ``shallow`` one, which uses deep features again, those of the top level."""
    channels, pixels, total = work.shape.channels, work.pixels, Operations()
    levels = list(zip(channels, pixels, work.shape.attended, strict=True))
    inputs = 2 * work.shape.latent_channels
    total += _convolution(inputs, channels[0], 9, work.frames * pixels[0])
    total += _convolution(channels[0], work.shape.latent_channels, 9, work.frames * pixels[0])
    if shallow:
        return total + _layer(work, levels[0], 2 * channels[0])
    before = channels[0]
    waiting = [before]
    for place, level in enumerate(levels):
        for _ in range(work.shape.layers):
            total += _layer(work, level, before)
            before = level[0]
            waiting.append(before)
        if place + 1 < len(levels):
            total += _convolution(before, before, 9, work.frames * pixels[place + 1])
            waiting.append(before)
    lowest = (channels[-1], pixels[-1], True)
    total += _layer(work, lowest, before) + _resnet(work, lowest, before)
    for place, level in reversed(list(enumerate(levels))):
        for _ in range(work.shape.layers + 1):
            total += _layer(work, level, before + waiting.pop())
            before = level[0]
        if place:  # where a side is doubled to the pixel, doubling and convolution are one, with 4 weights for 9
            weights = 4 if pixels[place - 1] == 4 * pixels[place] else 9
            total += _convolution(before, before, weights, work.frames * pixels[place - 1])
    return total


def _convolution(inputs: int, outputs: int, weights: int, pixels: int) -> Operations:
    return Operations(convolutions=2 * inputs * outputs * weights * pixels)


def _resnet(work: Work, level: tuple[int, int, bool], inputs: int) -> Operations:
    """Count two convolutions in space, two in time, and one of single pixels where the channels change."""
    outputs, pixels, _ = level
    changed = inputs if inputs != outputs else 0
    return _convolution(9 * inputs + 9 * outputs + changed + 2 * 3 * outputs, outputs, 1, work.frames * pixels)


def _layer(work: Work, level: tuple[int, int, bool], inputs: int) -> Operations:
    """Count a residual block and, where the level has them, a transformer in space and one in time."""
    channels, pixels, attended = level
    if not attended:
        return _resnet(work, level, inputs)
    projections = 2 * channels**2  # into tokens and out
    attentions = 2 * 4 * channels**2 + 2 * channels * (pixels + work.frames)  # in space and in time
    feed_forwards = 3 * 12 * channels**2  # one in space, two in time
    tokens = work.frames * pixels
    return _resnet(work, level, inputs) + Operations(products=2 * tokens * (projections + attentions + feed_forwards))


@torch.no_grad()
def measure_rate(work: Work, device: torch.device, dtype: torch.dtype) -> Rate:
    """Return the rate that a device shows at a convolution and at a product like those of the second level."""
    channels, pixels = work.shape.channels[:2][-1], work.pixels[:2][-1]
    rows = max(1, min(round(pixels**0.5), math.isqrt(LARGEST // channels)))
    if device.type == "cpu" and dtype != torch.float32:
        rows = min(rows, SLOW_SIDE)
    frames = max(1, min(work.frames, 2**22 // (channels * rows * rows)))
    convolution = nn.Conv2d(channels, channels, 3, padding=1).to(device, dtype)
    convolution.weight.data = channels_last(convolution.weight.data)
    linear = nn.Linear(channels, 4 * channels).to(device, dtype)
    states_FCYX = channels_last(torch.randn(frames, channels, rows, rows, device=device, dtype=dtype))
    tokens_NC = torch.randn(frames * rows * rows, channels, device=device, dtype=dtype)
    tokens = len(tokens_NC)
    return Rate(
        _convolution(channels, channels, 9, tokens).convolutions / _seconds(lambda: convolution(states_FCYX), device),
        2 * 4 * channels**2 * tokens / _seconds(lambda: run_linear(linear, tokens_NC), device),
    )


def _seconds(call: Callable[[], Tensor], device: torch.device) -> float:
    """Return the least time of a call, of those in a moment, after one that does not count."""
    taken: list[float] = []
    begin = 0.0
    while not taken or time.perf_counter() - begin < MOMENT:
        before = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if begin:
            taken.append(time.perf_counter() - before)
        else:
            begin = time.perf_counter()
    return min(taken)
