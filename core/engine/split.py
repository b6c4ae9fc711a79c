"""How the work on one video is shared out: spatial work over its frames, temporal work over its pixels.

Everything that mixes pixels of a frame is done for some frames at a time, everything that mixes frames for some pixels
at a time; nothing mixes both, but for the statistics of the temporal group norms, which are merged. The blocks know
only the methods of :class:`Split`: one that keeps some of the frames on each of several devices would exchange frames
for pixels before ``over_pixels`` runs and back afterwards, and merge moments over the devices.

Shape suffixes: F = frames, C = channels, Y, X = rows, columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self, TypeVar

import torch
from torch import Tensor

from .compiled import Piece, compiled
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

    Raises:
        ValueError: the workspace is not positive.

    """

    workspace: int | None = None
    keep: bool = True
    counted: tuple[int, int] | None = None
    compiled: bool = False

    def __post_init__(self) -> None:
        """See that there is some room."""
        if self.workspace is not None and self.workspace < 1:
            raise ValueError(f"workspace must be positive, got {self.workspace} bytes")

    def over_frames(self, frames: int, each: int) -> Iterator[slice]:
        """Yield the chunks of frames, in order, where the work on one frame takes ``each`` bytes."""
        return self._chunks(frames, each)

    def over_pixels(
        self, run: Callable[[int, Tensor], Result], states: Tensor, dim: int, each: int, *, whole: bool = False
    ) -> list[Result]:
        """Call ``run`` with the number of each chunk and every frame of its pixels; it may write into them.

        Args:
            run: what is done with a chunk.
            states: of all frames; frames come first.
            dim: that of the pixels.
            each: bytes that the work on one pixel of one frame takes.
            whole: whether the work needs all pixels at a time, whatever it takes.

        """
        pixels = states.shape[dim]
        chunks = iter([slice(0, pixels)]) if whole else self._chunks(pixels, each * len(states))
        return [
            run(number, states.narrow(dim, chunk.start, chunk.stop - chunk.start))
            for number, chunk in enumerate(chunks)
        ]

    def counted_of(self, states: Tensor, start: int = 0, dim: int = 0) -> Tensor:
        """Return those of some states whose frames are counted; the first of them is frame ``start``."""
        if self.counted is None:
            return states
        first, last = (min(max(frame - start, 0), states.shape[dim]) for frame in self.counted)
        return states.narrow(dim, first, last - first)

    def ready(self, piece: Piece) -> Piece:
        """Return a piece of the computation as it is to be run: as it is, or compiled."""
        return compiled(piece) if self.compiled else piece

    def merge(self, parts: list[Moments]) -> Moments:
        """Return the moments of everything from those of its parts."""
        return merge_moments(parts)

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

    """

    shape: torch.Size
    read: Callable[[slice], Tensor]

    @classmethod
    def of(cls, states_FCYX: Tensor) -> Self:
        """Return states that are there as a source."""
        return cls(states_FCYX.shape, states_FCYX.__getitem__)

    @property
    def pixels(self) -> int:
        """Of one frame."""
        return self.shape[2] * self.shape[3]


class Whole:
    """States of all frames, gathered chunk by chunk; a single chunk is taken as it is, without a copy."""

    def __init__(self, frames: int) -> None:
        self._frames = frames
        self._states: Tensor | None = None

    def put(self, chunk: slice, part: Tensor) -> None:
        """Take the states of a chunk of frames."""
        if len(part) == self._frames:
            self._states = part
            return
        if self._states is None:
            self._states = part.new_empty((self._frames, *part.shape[1:]))
        self._states[chunk] = part

    @property
    def states(self) -> Tensor:
        """All of them; frames come first."""
        assert self._states is not None, "no chunk was put in"
        return self._states
