"""How much memory one call of the UNet takes, and how it is split so that it fits: data, before anything is computed.

Three things take memory beside the weights: states that are held for all frames (of the block at work, and skips), and
the workspace for one chunk. Only what is held grows with the number of frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .resample import merged_numbers
from .resblock import resnet_bytes, temporal_bytes
from .split import Split
from .transformer import block_bytes


@dataclass(frozen=True, slots=True)
class UnetShape:
    """What decides how much memory and time SVD's UNet takes.

    Attributes:
        channels: of each level.
        layers: residual blocks of each level on the way down; there is one more on the way up.
        latent_channels: of a latent frame; the image's come in beside the noisy ones.
        parameters: of the UNet; 0 where they are not known.
        attended: whether a level has transformers.

    """

    channels: tuple[int, ...]
    layers: int
    latent_channels: int = 4
    parameters: int = 0
    attended: tuple[bool, ...] = (True, True, True, False)


@dataclass(frozen=True, slots=True)
class Work:
    """What one call of the UNet is to do.

    Attributes:
        shape: of the UNet.
        frames: of the video.
        rows: of latents.
        columns: of latents.
        number: bytes of a number.
        reused: branches whose deep features are kept from call to call.
        stored: bytes that a weight is stored in; by default those of a number.
        whole: whether temporal attention needs all pixels at a time.
        branches: of guidance, which a step asks for and a call may run at once.

    """

    shape: UnetShape
    frames: int
    rows: int
    columns: int
    number: int
    reused: int = 0
    stored: int | None = None
    whole: bool = False
    branches: int = 1

    @property
    def pixels(self) -> list[int]:
        """Pixels of a frame at each level."""
        rows, columns, found = self.rows, self.columns, []
        for _ in self.shape.channels:
            found.append(rows * columns)
            rows, columns = (rows + 1) // 2, (columns + 1) // 2
        return found

    @property
    def loaded(self) -> int:
        """Bytes of the UNet's weights."""
        return self.shape.parameters * (self.stored or self.number)

    @property
    def weights(self) -> int:
        """Bytes of the UNet's weights, and of the kernels that are merged from those held as they are computed with."""
        merged = merged_numbers(self.shape.channels) * self.number if self.shape.parameters and not self.stored else 0
        return self.loaded + merged


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """How a call is split, and what it takes.

    Attributes:
        work: what is to be done.
        budget: bytes that it may take.
        split: of the work.
        host_skips: whether skips wait in the host's memory.

    """

    work: Work
    budget: int
    split: Split
    host_skips: bool

    @property
    def held(self) -> int:
        """Bytes of what is held for all frames."""
        frames = self.split.videos * self.work.frames
        return frames * held_bytes(self.work, keep=self.split.keep, host_skips=self.host_skips)

    @property
    def on_host(self) -> int:
        """Bytes of what waits in the host's memory."""
        return self.work.frames * skip_bytes(self.work) if self.host_skips else 0

    @property
    def peak(self) -> int:
        """Bytes at the most, on the device."""
        return self.work.weights + self.held + self.chunk

    @property
    def chunk(self) -> int:
        """Bytes of a chunk of the work, and of what is fetched for the next one meanwhile."""
        least, most = (self.split.videos * each for each in workspaces(self.work))
        chunk = min(max(self.split.workspace or most, least), most)
        part, whole = fetched_ahead(self.work) if self.host_skips else (0, 1)
        return chunk - (-chunk * part // whole)


# The ways to share the work out, the fastest first.
WAYS = ((True, False), (False, False), (False, True))


def plan_memory(work: Work, budget: int, workspace: int, host: int) -> MemoryPlan | None:
    """Return the fastest way that fits, or None where none does.

    Both branches of guidance are run at once where they fit in a chunk together: so small a call spends much of its
    time in Python, and two take it twice. Elsewhere it would take twice the memory for nothing.

    Args:
        work: what is to be done.
        budget: bytes that it may take on the device, weights included.
        workspace: bytes for one chunk beyond which larger chunks are no faster; less where the budget asks for it.
        host: bytes of the host's memory that skips may take.

    """
    least, most = workspaces(work)
    # Which deep features are used again would depend on the memory there is.
    if work.branches > 1 and work.branches * most <= workspace and not work.reused:
        at_once = MemoryPlan(work, budget, Split(workspace, videos=work.branches), host_skips=False)
        if at_once.peak <= budget:
            return at_once
    ways = WAYS if work.frames * skip_bytes(work) <= host else WAYS[:-1]
    for keep, host_skips in ways:
        held = work.frames * held_bytes(work, keep=keep, host_skips=host_skips)
        part, whole = fetched_ahead(work) if host_skips else (0, 1)
        room = (budget - work.weights - held) * whole // (whole + part)
        # A workspace that is squeezed to one frame is worth no way but the last.
        if room >= (least if (keep, host_skips) == ways[-1] else min(2 * least, max(workspace, least))):
            return MemoryPlan(work, budget, Split(min(room, max(workspace, least)), keep), host_skips)
    return None


def workspaces(work: Work) -> tuple[int, int]:
    """Return the bytes of the smallest chunk, one frame or one pixel of all frames, and of everything at a time.

    Both where they are most. Where temporal attention needs all pixels, its smallest chunk is everything.
    """
    least = most = 0
    channels = work.shape.channels
    for here, below, pixels in zip(channels, (*channels[1:], channels[-1]), work.pixels, strict=True):
        block = block_bytes(here, work.number)
        spatial = max(resnet_bytes(here + below, here, work.number), block)
        temporal = max(temporal_bytes(here, work.number), block)
        at_once = work.frames * pixels * block if work.whole else 0
        least = max(least, pixels * spatial, work.frames * temporal, at_once)
        most = max(most, work.frames * pixels * max(spatial, temporal))
    return least, most


def fetched_ahead(work: Work) -> tuple[int, int]:
    """Return what share of a chunk is fetched from the host meanwhile, for the next one: a part, and of how much.

    Most where as many channels come from the way down as from below.
    """
    channels = work.shape.channels[0]
    return work.number * channels, resnet_bytes(2 * channels, channels, work.number)


def skip_bytes(work: Work) -> int:
    """Return the bytes of each frame that wait from the way down to the way up, or from one call to the next."""
    sizes = [channels * pixels for channels, pixels in zip(work.shape.channels, work.pixels, strict=True)]
    smaller = [work.shape.channels[level] * pixels for level, pixels in enumerate(work.pixels[1:])]
    return (sizes[0] * (1 + work.reused) + work.shape.layers * sum(sizes) + sum(smaller)) * work.number


def held_bytes(work: Work, *, keep: bool, host_skips: bool) -> int:
    """Return the bytes that are held for each frame when most are: states, and latents coming in and going out."""
    pixels = work.rows * work.columns
    kept = 0 if host_skips else work.reused * work.shape.channels[0]
    between = (3 * work.shape.latent_channels + kept) * pixels
    return (max(_held(work, keep=keep, host_skips=host_skips)) + between) * work.number


def _held(work: Work, *, keep: bool, host_skips: bool) -> Iterator[int]:
    """Yield how many numbers of each frame are held, block by block, in the order of ``unet.py``."""
    sizes = [channels * pixels for channels, pixels in zip(work.shape.channels, work.pixels, strict=True)]
    waiting: list[int] = [sizes[0]]
    resident = 0 if host_skips else 1  # whether a skip counts

    def block(before: int, after: int) -> int:
        # The block's input and output, and as much again between the temporal convolutions or as tokens.
        return max(before + after * (2 if keep else 1), 2 * after)

    current = sizes[0]
    for level, size in enumerate(sizes):
        for _ in range(work.shape.layers):
            # On the device the block's input is the last skip; in the host's memory it is held besides.
            yield resident * sum(waiting) + block(current * (1 - resident), size)
            waiting.append(size)
            current = size
        if level + 1 < len(sizes):
            smaller = work.shape.channels[level] * work.pixels[level + 1]
            yield resident * sum(waiting) + current * (1 - resident) + smaller
            waiting.append(smaller)
            current = smaller
    for _ in range(2):
        yield resident * sum(waiting) + block(current, sizes[-1])
        current = sizes[-1]
    for size in reversed(sizes):
        for _ in range(work.shape.layers + 1):
            yield resident * sum(waiting) + block(current, size)
            waiting.pop()
            current = size
