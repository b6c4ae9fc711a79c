"""How the work on one video is shared out: spatial work over its frames, temporal work over its pixels.

Everything that mixes pixels of a frame is done for some frames at a time, everything that mixes frames for some pixels
at a time; nothing mixes both, but for the statistics of the temporal group norms, which are merged. The blocks know
only the methods of :class:`Split`: one that keeps some of the frames on each of several devices would exchange frames
for pixels before ``over_pixels`` runs and back afterwards, and merge moments over the devices.

Shape suffixes: F = frames, P = pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from .moments import Moments, merge_moments

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Split:
    """Chunks one after another on one device.

    Attributes:
        frames: at a time in spatial work; None = all.
        pixels: at a time in temporal work; None = all.
        keep: whether what lies between the two convolutions of a temporal block is kept for all pixels, which takes
            as much memory as its input, or worked out twice.

    Raises:
        ValueError: a number is not positive.

    """

    frames: int | None = None
    pixels: int | None = None
    keep: bool = True

    def __post_init__(self) -> None:
        """See that the chunks have a size."""
        for what, size in (("frames", self.frames), ("pixels", self.pixels)):
            if size is not None and size < 1:
                raise ValueError(f"{what} at a time must be positive, got {size}")

    def over_frames(self, frames: int) -> Iterator[slice]:
        """Yield the chunks of frames, in order."""
        return _chunks(frames, self.frames)

    def over_pixels(self, run: Callable[[int, Tensor], Result], states: Tensor, dim: int) -> list[Result]:
        """Call ``run`` with the number of each chunk and every frame of its pixels; it may write into them.

        Args:
            run: what is done with a chunk.
            states: of all frames; frames come first.
            dim: that of the pixels.

        """
        chunks = _chunks(states.shape[dim], self.pixels)
        return [
            run(number, states.narrow(dim, chunk.start, chunk.stop - chunk.start))
            for number, chunk in enumerate(chunks)
        ]

    def merge(self, parts: list[Moments]) -> Moments:
        """Return the moments of everything from those of its parts."""
        return merge_moments(parts)


def _chunks(count: int, size: int | None) -> Iterator[slice]:
    step = size or count
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


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
