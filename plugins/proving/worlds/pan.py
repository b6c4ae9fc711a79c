"""A pan: the whole picture moves over the torus; a comet in it shows where to.

Here the comet is dark and the background bright, so that the first frame tells that both move.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from .canvas import SIDE, Array, Ground, Track, World, draw_colour, top, unwrap
from .comet import Body

TEXTURE = 1.5  # stronger than a background that only lies behind


@dataclass(frozen=True, slots=True)
class Pan(World):
    """A texture and a comet that move together."""

    kind: ClassVar[str] = "pan"
    body: Body
    ground: Ground

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Self:
        """Draw a texture and a comet."""
        body = replace(Body.draw(rng), colour=draw_colour(rng, 0.0, 0.2))
        return cls(body, Ground.draw(rng, TEXTURE, low=0.5, high=0.75))

    def render(self, distances_F: Array, size: int = SIDE) -> Array:
        """Return the frames, (F, H, W, 3) in [0, 1]."""
        ahead, aside = self.body.direction
        grounds = [self.ground.render(size, (distance * ahead, distance * aside)) for distance in distances_F]
        frames_FHW3 = np.stack(grounds)
        cover_FHW1 = self.body.coverage(distances_F, size)[..., None]
        return frames_FHW3 * (1 - cover_FHW1) + np.asarray(self.body.colour) * cover_FHW1

    def path(self, distances_F: Array) -> Array:
        """Return how far the picture has moved, (F, 1, 2)."""
        path_F12: Array = distances_F[:, None, None] * np.asarray(self.body.direction)
        return path_F12

    def flow(self, distances_F: Array, size: int = SIDE) -> Array:
        """Return the same motion everywhere, (F, H, W, 2)."""
        direction_2 = np.asarray(self.body.direction)
        return np.broadcast_to(direction_2, (len(distances_F), size, size, 2)).copy()

    def things(self, distances_F: Array, size: int = SIDE) -> Array:
        """Return how far the comet covers the texture, (F, H, W)."""
        return self.body.coverage(distances_F, size)

    def follow(self, video_FHW3: Array) -> Track:
        """Find by correlation how far each frame has moved from the truth's first; presence is the correlation."""
        first_HW3 = self.render(np.zeros(1), video_FHW3.shape[1])[0]
        scale = SIDE / video_FHW3.shape[1]
        shifts, presences = zip(*(_shift(first_HW3, frame_HW3) for frame_HW3 in video_FHW3), strict=True)
        path_FN2 = unwrap(np.asarray(shifts)[:, None] * scale, np.zeros((1, 2)))
        return Track(path_FN2, np.asarray(presences)[:, None])


def _shift(first_HW3: Array, frame_HW3: Array) -> tuple[tuple[float, float], float]:
    """Return the shift (x, y) in pixels at which two pictures on a torus correlate best, and that correlation."""
    one, other = (picture - picture.mean((0, 1)) for picture in (first_HW3, frame_HW3))
    spectrum = (np.conj(np.fft.fft2(one, axes=(0, 1))) * np.fft.fft2(other, axes=(0, 1))).sum(-1)
    correlation_HW = np.fft.ifft2(spectrum).real
    norm = float(np.linalg.norm(one) * np.linalg.norm(other))
    row, column = np.unravel_index(int(correlation_HW.argmax()), correlation_HW.shape)
    rows = [correlation_HW[(row + step) % len(correlation_HW), column] for step in (-1, 0, 1)]
    columns = [correlation_HW[row, (column + step) % len(correlation_HW)] for step in (-1, 0, 1)]
    presence = float(correlation_HW[row, column]) / norm if norm > 0 else 0.0
    return (float(column) + top(columns), float(row) + top(rows)), presence
