"""Overlapping windows over frames, and the weights with which they are fused.

Shape suffixes: W = windows, F = frames, of the video or of a window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

Fuse = Literal["flat", "pyramid", "overlap-linear", "gaussian", "delayed-sawtooth"]

HARDLY = 0.01  # what a late joiner counts for
BELL = 6  # a window is so many standard deviations wide


def window_starts(frames: int, size: int, stride: int) -> list[int]:
    """Return where windows of ``size`` begin, every ``stride`` frames; the last one ends on the last frame.

    Raises:
        ValueError: size or stride is not positive, or windows of that stride would leave frames uncovered.

    """
    _check_stride(size, stride)
    if frames <= size:
        return [0]
    return [*range(0, frames - size, stride), frames - size]


def ring_starts(frames: int, size: int, stride: int) -> list[int]:
    """Return where windows begin that go on over the end into the beginning, at most ``stride`` frames apart.

    Where the stride does not divide the frames, the distances differ by one at the most, spread evenly.

    Raises:
        ValueError: as for :func:`window_starts`, or a window is longer than the ring.

    """
    _check_stride(size, stride)
    if frames < size:
        raise ValueError(f"a window must not be longer than the ring, got size={size} with frames={frames}")
    count = -(-frames // stride)
    return [window * frames // count for window in range(count)]


def _check_stride(size: int, stride: int) -> None:
    if not 1 <= stride <= size:
        raise ValueError(f"stride must be in 1 … size, got stride={stride} with size={size}")


def fused_weights(
    frames: int, size: int, starts: Sequence[int], fuse: Fuse = "pyramid", *, ring: bool = False
) -> Tensor:
    """Return what each window counts for in each frame, (W, F) in float32; those over a frame sum to one.

    Args:
        frames: of the video.
        size: of a window.
        starts: first frame of each window, rising.
        fuse: which shape a window's weights have before they are scaled.
        ring: whether windows go on over the end of the video into its beginning.

    """
    size = min(size, frames)
    weights_WF = torch.zeros(len(starts), frames, dtype=torch.float64)
    for window, start in enumerate(starts):
        # The first window has none before it, the last none after it, but in a ring everyone has neighbours.
        before = after = None
        if ring or window > 0:
            before = max(0, size - (start - starts[window - 1]) % frames)
        if ring or window + 1 < len(starts):
            after = max(0, size - (starts[(window + 1) % len(starts)] - start) % frames)
        inside_F = (start + torch.arange(size)) % frames
        weights_WF[window, inside_F] = SHAPES[fuse](size, before, after)
    return (weights_WF / weights_WF.sum(dim=0)).float()


def flat(size: int, before: int | None = None, after: int | None = None) -> Tensor:
    """Return the same weight for every frame of a window, (F,)."""
    return torch.ones(size, dtype=torch.float64)


def pyramid(size: int, before: int | None = None, after: int | None = None) -> Tensor:
    """Return weights that rise from both ends to the middle: 1, 2, 2, 1 or 1, 2, 3, 2, 1."""
    ramp_F = torch.arange(1, size + 1, dtype=torch.float64)
    return torch.minimum(ramp_F, ramp_F.flip(0))


def overlap_linear(size: int, before: int | None = None, after: int | None = None) -> Tensor:
    """Return 1 with ramps over the frames shared with the window before and the one after; none at the video's ends."""
    return torch.minimum(_ramp(size, before), _ramp(size, after).flip(0))


def _ramp(size: int, shared: int | None) -> Tensor:
    rising_F = torch.arange(1, size + 1, dtype=torch.float64) / ((shared or 0) + 1)
    return rising_F.clamp(max=1)


def gaussian(size: int, before: int | None = None, after: int | None = None) -> Tensor:
    """Return a bell around the middle, whose standard deviation is a sixth of the window."""
    from_middle_F = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    return torch.exp(-0.5 * (BELL * from_middle_F / size) ** 2)


def delayed_sawtooth(size: int, before: int | None = None, after: int | None = None) -> Tensor:
    """Return next to nothing for the first half, then weights that fall evenly from 1: late joiners hardly count.

    The first window of the video, which joins nobody, counts fully in its first half.
    """
    late = size // 2
    falling_F = torch.arange(size - late, 0, -1, dtype=torch.float64) / (size - late)
    return torch.cat([torch.full((late,), 1.0 if before is None else HARDLY, dtype=torch.float64), falling_F])


# What a window's frames count for before the windows over a frame are scaled, (F,) in float64, from its size and the
# frames that it shares with the window before and the one after, each None where there is no such window.
SHAPES: dict[Fuse, Callable[[int, int | None, int | None], Tensor]] = {
    "flat": flat,
    "pyramid": pyramid,
    "overlap-linear": overlap_linear,
    "gaussian": gaussian,
    "delayed-sawtooth": delayed_sawtooth,
}
