"""How much memory decoding takes, and how it is split so that it fits: data, before anything is computed.

As in the UNet, states of all frames that are decoded together are held beside a workspace for one chunk. All frames
together is exact and decodes each of them once, so that comes first: held on the device, or else in the host's memory.
Where neither has room, as many frames are decoded together as there is room for, with others on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil
from typing import NamedTuple

import torch
from torch import Tensor

from .resblock import resnet_bytes, temporal_bytes
from .split import Split

FEWEST = 4  # frames at a time: on fewer, norms over frames would be measured badly
OVERLAP = 4  # frames on each side, where a decoder needs no more
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
        settled: whether so many were asked for, and no more may be taken.
        ring: whether the last frames come before the first ones, so that no chunk is without others on its sides.
        asked: frames of a chunk, where they are not to be chosen.

    """

    channels: tuple[int, ...]
    frames: int
    rows: int
    columns: int
    number: int
    weights: int = 0
    overlap: int = OVERLAP
    settled: bool = False
    ring: bool = False
    asked: int | None = None

    @property
    def levels(self) -> list[tuple[int, int]]:
        """Channels of each level, and pixels of a frame, in the order in which they are decoded."""
        pixels = self.rows * self.columns
        return [(channels, pixels * 4**level) for level, channels in enumerate(reversed(self.channels))]

    def together(self, chunk: int) -> int:
        """Return how many frames are decoded together at the most, for a chunk of so many."""
        size = grouped(chunk)
        inner = ceil(self.overlap / size) * size  # the first chunk with all its frames on both sides, if there are such
        if not self.ring and inner + size + self.overlap <= self.frames:
            return size + 2 * self.overlap
        return max(part.last - part.first for part in parts(self.frames, chunk, self.overlap, ring=self.ring))


class Part(NamedTuple):
    """What is decoded together: the first of its frames, the one after the last, and which of them are the chunk."""

    first: int
    last: int
    inside: tuple[int, int]

    @property
    def frames_F(self) -> Tensor:
        """Numbers of all frames, (F,); on a ring they may be beyond both ends."""
        return torch.arange(self.first, self.last)


def grouped(chunk: int) -> int:
    """Return how many frames come out of what is decoded together: of small chunks, several."""
    return chunk * ceil(FEWEST / chunk)


def parts(frames: int, chunk: int, overlap: int, *, ring: bool) -> list[Part]:
    """Return what is decoded together, for chunks of so many frames.

    A single part where there is one that is everything: then once is enough. On a ring there is none.
    """
    size, found = grouped(chunk), []
    for start in range(0, frames, size):
        stop = min(start + size, frames)
        first, last = start - overlap, stop + overlap
        if not ring:
            first, last = max(0, first), min(frames, last)
            if last - first == frames:
                return [Part(0, frames, (0, frames))]
        found.append(Part(first, last, (start - first, stop - first)))
    return found


@dataclass(frozen=True, slots=True)
class DecodePlan:
    """How decoding is split, and what it takes.

    Attributes:
        work: what is to be decoded.
        chunk: frames that are decoded at a time, those around them not counted.
        workspace: bytes for one chunk of the work on them.
        keep: whether what lies between two convolutions over time is kept, or worked out twice.
        on_host: whether states of the frames are held in the host's memory.
        budget: bytes of the device that it may take; 0 where that was not asked.
        host: bytes of the host's memory likewise.

    """

    work: DecodeWork
    chunk: int
    workspace: int
    keep: bool
    on_host: bool
    budget: int = 0
    host: int = 0

    @property
    def together(self) -> int:
        """Frames that are decoded together."""
        return self.work.together(self.chunk)

    @property
    def all_at_once(self) -> bool:
        """Whether they are the whole video, so that it is decoded once, and exactly."""
        return not self.work.ring and self.together == self.work.frames

    @property
    def held(self) -> int:
        """Bytes of the states of all of them."""
        return self.together * held_bytes(self.work, keep=self.keep)

    @property
    def peak(self) -> int:
        """Bytes at the most, on the device."""
        return self.work.weights + (0 if self.on_host else self.held) + self.at_work

    @property
    def at_work(self) -> int:
        """Bytes of a chunk of the work."""
        least, most = workspaces(self.work, self.together, on_host=self.on_host)
        return min(max(self.workspace, least), most)

    @property
    def times(self) -> float:
        """How often each frame is decoded, on average: once, or twice, those around each chunk besides."""
        each = parts(self.work.frames, self.chunk, self.work.overlap, ring=self.work.ring)
        return (1 if self.all_at_once else 2) * sum(part.last - part.first for part in each) / self.work.frames

    def split(self, device: torch.device) -> Split:
        """Return how the work is shared out on a device."""
        return Split(self.workspace, self.keep, bring_to=device if self.on_host else None)

    def with_overlap(self, overlap: int) -> DecodePlan | None:
        """Return a plan with another overlap, for as many frames at a time as then fit; None if none do."""
        work = replace(self.work, overlap=overlap, asked=None)
        return plan_decoding(work, self.budget, self.host, self.workspace, most=self.work.asked)

    def smaller(self) -> DecodePlan | None:
        """Return a plan for half of what this one takes beside the weights, or as near to it as there is one.

        Where states are held by the host, which of the two ran out is not known, and both are to have less to do.
        """
        work = replace(self.work, asked=None)
        host = min(self.host, self.held // 2) if self.on_host else self.host
        budgets = [work.weights + int(share * (self.peak - work.weights)) for share in (0.5, 0.75)]
        for budget in [*budgets, self.peak] if self.on_host else budgets:
            plan = plan_decoding(work, budget, host, self.workspace)
            if plan is not None:
                return plan
        fewer = plan_decoding(work, self.peak, host, self.workspace, most=max(FEWEST, self.chunk // 2))
        if fewer and fewer.chunk < self.chunk and (fewer.peak, fewer.held) < (self.peak, self.held):
            return fewer
        least = least_decoding(work, on_host=self.on_host)
        if (least.peak, least.held) < (self.peak, self.held):
            return replace(least, budget=self.budget, host=host)
        return None


# Whether what lies between is kept, and states are held in the host's memory; the fastest way first.
WAYS = ((True, False), (False, False), (False, True))


def plan_decoding(
    work: DecodeWork, budget: int, host: int, workspace: int, most: int | None = None
) -> DecodePlan | None:
    """Return the best way that fits, or None where none does.

    Args:
        work: what is to be decoded.
        budget: bytes that it may take on the device, weights included.
        host: bytes of the host's memory that states may take.
        workspace: bytes for one chunk beyond which larger chunks are no faster; less where the budget asks for it.
        most: frames of a chunk; None = all.

    """
    most = min(most or work.frames, work.frames)
    for keep, on_host in WAYS:
        plan = _fitting(work, work.asked or most, keep, on_host, budget, host, workspace)
        if plan:
            return plan
    fewer = () if work.asked else range(most - 1, FEWEST - 1, -1)
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
    return DecodePlan(work, chunk, min(room, max(workspace, least)), keep, on_host, budget, host)


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
