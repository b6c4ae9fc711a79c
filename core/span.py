"""Which frames a strategy is asked about, and windows over them.

Shape suffixes: F = frames, W = windows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Span:
    """The stretch of the video that one UNet call sees.

    Attributes:
        frames: frames in this call (T).
        trained: frames that the model was trained on (L; 14 for SVD, 25 for SVD-XT).
        progress: 0 at the first, noisiest step, 1 at the last.
        factor: how far to stretch, where a strategy that wraps another decides it; None = from the length.
        step: number of the denoising step, from 0.
        rows: of the pixels P that attention is about, one row after another; None where they are not whole frames.
        columns: of these pixels; likewise.
        places: numbers of the frames in the whole video, where that is made in parts; None = this is all of it.
        whole: frames of the whole video; likewise.

    """

    frames: int
    trained: int
    progress: float = 0.0
    factor: float | None = None
    step: int = 0
    rows: int | None = None
    columns: int | None = None
    places: tuple[int, ...] | None = None
    whole: int | None = None

    @property
    def stretch(self) -> float:
        """``factor`` where it is set, else T / L, and 1 for anything not longer than the model was trained on."""
        return self.factor if self.factor is not None else max(1.0, self.frames / self.trained)

    @property
    def numbers_F(self) -> Tensor:
        """Numbers of the frames in the whole video, (F,), int64: what schedules over its frames go by."""
        return torch.arange(self.frames) if self.places is None else torch.tensor(self.places)

    @property
    def frames_of_video(self) -> int:
        """How many frames the whole video has."""
        return self.frames if self.whole is None else self.whole

    def part(self, frames_F: Tensor) -> Span:
        """Return what is told of some frames of this stretch, given by their numbers in it, (F,)."""
        places = tuple(self.numbers_F[frames_F].tolist())
        return replace(self, frames=len(places), places=places, whole=self.frames_of_video)


@dataclass(frozen=True, slots=True)
class Windows:
    """Overlapping windows over the frames; what they give is summed with weights.

    Attributes:
        size: frames in each window.
        starts: first frame of each window, rising.
        weights_WF: what each window counts for in each frame; zero outside it, every column sums to 1.
        local_positions: False: every frame keeps its place in the whole video. True: each window counts from zero,
            and the whole temporal block is run once for each window.
        ring: whether a window that runs over the end of the video goes on at its beginning.

    """

    size: int
    starts: Sequence[int]
    weights_WF: Tensor
    local_positions: bool = False
    ring: bool = False

    def inside(self, start: int) -> slice | Tensor:
        """Return the frames of the window that begins at ``start``, as an index: a slice unless it runs over the end.

        An index tensor holds (start + i) mod T in the order of the window, each frame once.
        """
        frames = self.weights_WF.shape[-1]
        if not self.ring or start + self.size <= frames:
            return slice(start, start + self.size)
        return torch.arange(start, start + self.size) % frames
