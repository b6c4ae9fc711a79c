"""How much memory decoding takes, and how it is split so that it fits: data, before anything is computed.

As in the UNet, states of all frames that are decoded together are held beside a workspace for one chunk. All frames
together is exact and decodes each of them once, so that comes first: held on the device, or else in the host's memory.
Where neither has room, as many frames are decoded together as there is room for, with others on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil

import torch

from .resblock import resnet_bytes, temporal_bytes
from .split import Split

FEWEST = 4  # frames at a time: on fewer, norms over frames would be measured badly
COLOURS = 3


@dataclass(frozen=True, slots=True)
class DecodeWork:
    """What is to be decoded.

    Attributes:
        channels: of each level of the VAE, the one of whole pictures first.
        frames: of the video.
        rows: of latents.
        columns: of latents.
        number: bytes of a number.
        weights: bytes of all weights that are on the device meanwhile.
        overlap: frames that are decoded in addition on each side of a chunk.
        ring: whether the last frames come before the first ones, so that no chunk is without others on its sides.
        asked: frames of a chunk, where they are not to be chosen.

    """

    channels: tuple[int, ...]
    frames: int
    rows: int
    columns: int
    number: int
    weights: int = 0
    overlap: int = 4
    ring: bool = False
    asked: int | None = None

    @property
    def levels(self) -> list[tuple[int, int]]:
        """Channels of each level, and pixels of a frame, in the order in which they are decoded."""
        pixels = self.rows * self.columns
        return [(channels, pixels * 4**level) for level, channels in enumerate(reversed(self.channels))]

    def together(self, chunk: int) -> int:
        """Return how many frames are decoded together at the most, for a chunk of so many."""
        chunk = min(together(chunk), self.frames)
        around = chunk + 2 * self.overlap
        if self.ring:
            return around
        return self.frames if chunk + self.overlap >= self.frames else min(self.frames, around)


def together(chunk: int) -> int:
    """Return how many frames of the video are decoded together: chunks of fewer than four, several of them."""
    return chunk * ceil(FEWEST / chunk)


@dataclass(frozen=True, slots=True)
class DecodePlan:
    """How decoding is split, and what it takes.

    Attributes:
        work: what is to be decoded.
        chunk: frames that are decoded at a time, those around them not counted.
        workspace: bytes for one chunk of the work on them.
        keep: whether what lies between two convolutions over time is kept, or worked out twice.
        on_host: whether states of the frames are held in the host's memory.

    """

    work: DecodeWork
    chunk: int
    workspace: int
    keep: bool
    on_host: bool

    @property
    def together(self) -> int:
        """Frames that are decoded together."""
        return self.work.together(self.chunk)

    @property
    def all_at_once(self) -> bool:
        """Whether they are the whole video, so that it is decoded once, and exactly."""
        return self.together == self.work.frames and not self.work.ring

    @property
    def held(self) -> int:
        """Bytes of the states of all of them."""
        return self.together * held_bytes(self.work, keep=self.keep)

    @property
    def peak(self) -> int:
        """Bytes at the most, on the device."""
        least, most = workspaces(self.work, self.together, on_host=self.on_host)
        return self.work.weights + (0 if self.on_host else self.held) + min(max(self.workspace, least), most)

    def split(self, device: torch.device) -> Split:
        """Return how the work is shared out on a device."""
        return Split(self.workspace, self.keep, bring_to=device if self.on_host else None)

    def smaller(self, host: int) -> DecodePlan | None:
        """Return a plan for half of what this one takes beside the weights, or as near to it as there is one."""
        work = replace(self.work, asked=None)
        for share in (0.5, 0.75):
            budget = work.weights + int(share * (self.peak - work.weights))
            plan = plan_decoding(work, budget, host, self.workspace)
            if plan is not None:
                return plan
        plan = least_decoding(work, on_host=self.on_host)
        return plan if plan.peak < self.peak else None


# Whether what lies between is kept, and states are held in the host's memory; the fastest way first.
WAYS = ((True, False), (False, False), (False, True))


def plan_decoding(work: DecodeWork, budget: int, host: int, workspace: int) -> DecodePlan | None:
    """Return the best way that fits, or None where none does.

    Args:
        work: what is to be decoded.
        budget: bytes that it may take on the device, weights included.
        host: bytes of the host's memory that states may take.
        workspace: bytes for one chunk beyond which larger chunks are no faster; less where the budget asks for it.

    """
    for keep, on_host in WAYS:
        plan = _fitting(work, work.asked or work.frames, keep, on_host, budget, host, workspace)
        if plan:
            return plan
    fewer = () if work.asked else range(work.frames - 1, FEWEST - 1, -1)
    # More frames at a time save more than what is kept between convolutions.
    for on_host in (False, True):
        for chunk in fewer:
            plan = _fitting(work, chunk, False, on_host, budget, host, workspace)
            if plan:
                return plan
    return None


def _fitting(
    work: DecodeWork, chunk: int, keep: bool, on_host: bool, budget: int, host: int, workspace: int
) -> DecodePlan | None:
    """Return a way as a plan, if it fits."""
    frames = work.together(chunk)
    held = frames * held_bytes(work, keep=keep)
    least, _ = workspaces(work, frames, on_host=on_host)
    room = budget - work.weights - (0 if on_host else held)
    if room < least or (on_host and held > host):
        return None
    return DecodePlan(work, chunk, min(room, max(workspace, least)), keep, on_host)


def least_decoding(work: DecodeWork, *, on_host: bool) -> DecodePlan:
    """Return the plan that takes the least memory of the device."""
    plan = DecodePlan(work, work.asked or min(FEWEST, work.frames), 1, keep=False, on_host=on_host)
    return replace(plan, workspace=workspaces(work, plan.together, on_host=on_host)[0])


def workspaces(work: DecodeWork, frames: int, *, on_host: bool) -> tuple[int, int]:
    """Return the bytes of the smallest chunk, one frame or one pixel of all frames, and of everything at a time."""
    least = most = 0
    before = work.levels[0][0]
    for channels, pixels in work.levels:
        spatial = resnet_bytes(before, channels, work.number)
        temporal = temporal_bytes(channels, work.number) + (work.number * channels if on_host else 0)
        least = max(least, pixels * spatial, frames * temporal)
        most = max(most, frames * pixels * max(spatial, temporal))
        before = channels
    return least, most


def held_bytes(work: DecodeWork, *, keep: bool) -> int:
    """Return the bytes that are held for each frame when most are: states, latents coming in and colours going out."""
    latents, colours = 4 * work.rows * work.columns, COLOURS * work.levels[-1][1]
    return (max(_held(work, keep=keep)) + latents + colours) * work.number


def _held(work: DecodeWork, *, keep: bool) -> Iterator[int]:
    """Yield how many numbers of each frame are held at each level: in its first block, and in those after it."""
    before = work.levels[0]
    for level in work.levels:
        size = level[0] * level[1] * (2 if keep else 1)
        # States of another shape cannot take the place of those that they are made of.
        yield size + (before[0] * before[1] if before != level else 0)
        before = level
