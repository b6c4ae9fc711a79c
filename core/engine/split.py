"""How the work on a video is shared out: spatial work over its frames, temporal work over its pixels.

Everything that mixes pixels of a frame is done for some frames at a time, everything that mixes frames for some pixels
at a time; nothing mixes both, but for the statistics of the temporal group norms, which are merged. The blocks know
only the methods of :class:`Split`: one that keeps some of the frames on each of several devices exchanges frames for
pixels before ``over_pixels`` runs and back afterwards, and merges moments over the devices (``tests/test_sharded.py``
does so with threads). What is here already may hold the decoder's states in the host's memory and bring each chunk.

Several videos are worked on together as if they were one with as many times the frames, which take turns: frame 0 of
each, frame 1 of each, and so on. Spatial work does not tell them apart. Where frames meet, those of one time stand side
by side like pixels; so only what is known of a video (its moments, its image) has to be known of each.

Shape suffixes: F = frames, C = channels, Y, X = rows, columns, P = pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self, TypeVar

import torch
from torch import Tensor

from .compiled import Piece, compiled
from .layout import channels_last
from .moments import Moments, merge_moments

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Split:
    """Chunks one after another on one device.

    Attributes:
        workspace: bytes that the tensors of one chunk may take, beside the states of all frames; a chunk is one frame
            or one pixel at the least. None = everything at a time.
        keep: whether what lies between the two convolutions of a temporal block is kept for all pixels, which takes
            as much memory as its input, or worked out twice.
        counted: the first frame over which temporal norms take their statistics and the one after the last, the others
            being there as neighbours only; None = all.
        compiled: whether pieces of the computation are compiled.
        merge: makes the moments of everything from those of its parts.
        bring_to: the device to which chunks are brought, while the states of all frames are held in the host's memory;
            None = they are held where they are worked on.
        videos: of a batch, that are worked on together at the most; the others wait. Within a call: those that it has.

    Raises:
        ValueError: the workspace or the number of videos is not positive, or there is no room on the device for what
            is kept between.

    """

    workspace: int | None = None
    keep: bool = True
    counted: tuple[int, int] | None = None
    compiled: bool = False
    merge: Callable[[list[Moments]], Moments] = merge_moments
    bring_to: torch.device | None = None
    videos: int = 1

    def __post_init__(self) -> None:
        """See that there is some room."""
        if self.workspace is not None and not (isinstance(self.workspace, int) and self.workspace >= 1):
            raise ValueError(f"workspace must be a whole number of bytes, 1 or more, got {self.workspace!r}")
        if self.videos < 1:
            raise ValueError(f"videos must be 1 or more, got {self.videos}")
        if self.keep and self.bring_to is not None:
            raise ValueError("what is kept between convolutions is on the device: where states are not, keep=False")

    def hold(self, frames: int, spent: Tensor | None = None) -> Whole:
        """Return the place for states of so many frames: that of spent ones where they have the same shape."""
        return Whole(frames, spent, torch.device("cpu") if self.bring_to is not None else None)

    def source(self, states: Tensor, *, spent: bool = False) -> Source:
        """Return states that are held as a source; ``spent`` if nobody needs them once they have been read."""
        return Source(states.shape, lambda chunk: self.bring(states[chunk]), states if spent else None)

    def bring(self, part: Tensor) -> Tensor:
        """Return some of the states that are held where they are worked on."""
        return part if self.bring_to is None else part.to(self.bring_to)

    def frames_of(self, states: Tensor) -> int:
        """Return how many frames the videos have of which some states are here; frames come first."""
        return len(states) // self.videos

    def place_of(self, chunk: slice) -> slice:
        """Return where a chunk of the frames that are here lies among those of all videos."""
        return chunk

    def over_frames(self, frames: int, each: int) -> Iterator[slice]:
        """Yield the chunks of the frames that are here, in order, where the work on one frame takes ``each`` bytes.

        Each has as many frames of one video as of another.
        """
        videos = self.videos
        for chunk in self._chunks(frames // videos, each * videos):
            yield slice(chunk.start * videos, chunk.stop * videos)

    def over_pixels(
        self,
        run: Callable[[int, Tensor], Result],
        states_FPC: Tensor,
        each: int,
        *,
        whole: bool = False,
        writes: bool = True,
    ) -> list[Result]:
        """Call ``run`` with the number of each chunk and every frame of its pixels.

        Args:
            run: what is done with a chunk.
            states_FPC: of all frames.
            each: bytes that the work on one pixel of one frame takes.
            whole: whether the work needs all pixels at a time, whatever it takes.
            writes: whether ``run`` writes new states into the chunk.

        """
        (frames, pixels, channels), made = states_FPC.shape, []
        if self.bring_to is not None:
            each += channels * states_FPC.element_size()
        chunks = iter([slice(0, pixels)]) if whole else self._chunks(pixels, each * frames)
        for number, chunk in enumerate(chunks):
            held_FPC = states_FPC[:, chunk]
            part_FPC = self.bring(held_FPC)
            made.append(run(number, part_FPC))
            if writes and part_FPC is not held_FPC:
                held_FPC.copy_(part_FPC)
        return made

    def merged(self, parts: list[Moments]) -> Moments:
        """Return the moments of everything, a row for each video, from those of its parts, which have rows in turn."""
        # As videos stay apart as groups do, they are merged as if they were more groups.
        merged = self.merge([part.reshaped(len(part.mean_RG) // self.videos) for part in parts])
        return merged.reshaped(self.videos)

    def counted_of(self, states: Tensor, start: int = 0) -> Tensor:
        """Return those of some states whose frames are counted; the first of them is frame ``start``."""
        if self.counted is None:
            return states
        first, last = (min(max(frame - start, 0), len(states)) for frame in self.counted)
        return states[first:last]

    def ready(self, piece: Piece) -> Piece:
        """Return a piece of the computation as it is to be run: as it is, or compiled."""
        return compiled(piece) if self.compiled else piece

    def _chunks(self, count: int, each: int) -> Iterator[slice]:
        size = count if self.workspace is None else max(1, min(count, self.workspace // each))
        size = -(-count // -(-count // size))  # as many chunks, but all of about the same size
        return (slice(start, min(start + size, count)) for start in range(0, count, size))


@dataclass(frozen=True, slots=True)
class Source:
    """States that are read chunk by chunk: so that skips are joined, and frames made larger, only while worked on.

    Attributes:
        shape: of all frames, (F, C, Y, X).
        read: returns the states of a chunk of frames.
        spent: the states, where nobody needs a chunk of them once it has been read.

    """

    shape: torch.Size
    read: Callable[[slice], Tensor]
    spent: Tensor | None = None

    @classmethod
    def of(cls, states_FCYX: Tensor) -> Self:
        """Return states that are there as a source."""
        return cls(states_FCYX.shape, states_FCYX.__getitem__)

    @property
    def pixels(self) -> int:
        """Of one frame."""
        return self.shape[2] * self.shape[3]


class Whole:
    """States of all frames, or tokens, gathered chunk by chunk; a single chunk is taken as it is, without a copy.

    Args:
        frames: how many.
        spent: states of the frames that are needed no longer, chunk by chunk; new ones of their shape take their place.
        where: they are held, if not where they are made.

    """

    def __init__(self, frames: int, spent: Tensor | None = None, where: torch.device | None = None) -> None:
        self._frames = frames
        self._spent = spent
        self._where = where
        self._states: Tensor | None = None

    def put(self, chunk: slice, part: Tensor) -> None:
        """Take the states of a chunk of frames."""
        if len(part) == self._frames and self._where is None:
            self._states = channels_last(part) if part.ndim == 4 else part
            return
        if self._states is None:
            self._states = self._room(torch.Size((self._frames, *part.shape[1:])), part)
        self._states[chunk] = part

    def _room(self, shape: torch.Size, like: Tensor) -> Tensor:
        if self._spent is not None and self._spent.shape == shape:
            return self._spent
        memory = torch.channels_last if len(shape) == 4 else torch.contiguous_format
        return torch.empty(shape, dtype=like.dtype, device=self._where or like.device, memory_format=memory)

    @property
    def states(self) -> Tensor:
        """All of them; frames come first."""
        assert self._states is not None, "no chunk was put in"
        return self._states
