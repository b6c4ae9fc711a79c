"""A zoom in or out on a picture that looks the same at every scale: it can go on forever.

The picture is a sum of waves in the logarithm of the distance from the centre, and in the angle. A disc in the middle
tells whether it zooms in or out: everything comes out of a bright one, and falls into a dark one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from .canvas import SIDE, Array, Colour, Track, Wave, World, draw_colour, grid, top

PERIOD = float(np.log(4.0))  # the picture is the same again after a zoom by 4
DISC = 3.5  # pixels from the centre below which the rings would be too fine to be seen
BRIGHT, DARK = 0.95, 0.05
HIDDEN = 0.2  # how far the disc must cover a place for what is there not to count
REFERENCE = SIDE / 4  # distance from the centre at which a point moves as far as the world has


@dataclass(frozen=True, slots=True)
class Zoom(World):
    """A zoom; ``direction`` is 1 where everything moves outwards."""

    kind: ClassVar[str] = "zoom"
    colour: Colour
    rings: tuple[Wave, ...]  # their periods: in the logarithm of the distance, and round the centre
    direction: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Self:
        """Draw rings, spokes and spirals."""
        rings = tuple(
            Wave(periods, float(rng.uniform(0, 2 * np.pi)), draw_colour(rng, -strength, strength))
            for periods, strength in (((1, 0), 0.2), ((1, 1), 0.15), ((0, 2), 0.1))
        )
        return cls(draw_colour(rng, 0.35, 0.65), rings, 1 if rng.random() < 0.5 else -1)

    def render(self, distances_F: Array, size: int = SIDE) -> Array:
        """Return the frames, (F, H, W, 3) in [0, 1]."""
        away_HW, angle_HW = self._polar(size)
        depth_HW = np.log(np.maximum(away_HW, 1e-6) / REFERENCE)
        disc_HW1 = _disc(away_HW)[..., None]
        moved_F = self.direction * distances_F / REFERENCE
        frames_FHW3 = np.broadcast_to(np.asarray(self.colour), (len(distances_F), size, size, 3)).copy()
        for ring in self.rings:
            along_FHW = 2 * np.pi * ring.periods[0] * (depth_HW - moved_F[:, None, None]) / PERIOD
            phase_FHW = along_FHW + ring.periods[1] * angle_HW + ring.phase
            frames_FHW3 += np.sin(phase_FHW)[..., None] * np.asarray(ring.amplitude)
        frames_FHW3 = frames_FHW3 * (1 - disc_HW1) + (BRIGHT if self.direction > 0 else DARK) * disc_HW1
        return np.clip(frames_FHW3, 0.0, 1.0, out=frames_FHW3)

    @staticmethod
    def _polar(size: int) -> tuple[Array, Array]:
        y_H1, x_1W = grid(size)
        x_HW, y_HW = np.broadcast_arrays(x_1W - SIDE / 2, y_H1 - SIDE / 2)
        return np.hypot(x_HW, y_HW), np.arctan2(y_HW, x_HW)

    def path(self, distances_F: Array) -> Array:
        """Return how far a point at the reference distance has moved outwards, (F, 1, 2), as (outwards, 0)."""
        return np.stack([self.direction * distances_F, np.zeros_like(distances_F)], axis=-1)[:, None]

    def flow(self, distances_F: Array, size: int = SIDE) -> Array:
        """Return motion away from the disc (or towards it) that grows with the distance, (F, H, W, 2)."""
        y_H1, x_1W = grid(size)
        x_HW, y_HW = np.broadcast_arrays(x_1W - SIDE / 2, y_H1 - SIDE / 2)
        outside_HW1 = (_disc(np.hypot(x_HW, y_HW)) < HIDDEN)[..., None]
        outwards_HW2 = self.direction * np.stack([x_HW, y_HW], axis=-1) / REFERENCE * outside_HW1
        return np.broadcast_to(outwards_HW2, (len(distances_F), size, size, 2)).copy()

    def things(self, distances_F: Array, size: int = SIDE) -> Array:
        """Return how far the disc covers the rings, (F, H, W); it stays where it is."""
        return np.broadcast_to(_disc(self._polar(size)[0]), (len(distances_F), size, size)).copy()

    def follow(self, video_FHW3: Array) -> Track:
        """Find how far each frame has zoomed by comparing it with the truth at all distances of one period."""
        distances_D = np.arange(0, PERIOD * REFERENCE, PERIOD * REFERENCE / 220)
        step = float(distances_D[1])
        # The disc is the same at every distance and would only hide the differences.
        outside_HW = _disc(self._polar(video_FHW3.shape[1])[0]) < HIDDEN
        known_DN = _without_mean(self.render(distances_D, video_FHW3.shape[1])[:, outside_HW])
        video_FN = _without_mean(video_FHW3[:, outside_HW])
        norms_FD = np.linalg.norm(video_FN, axis=1)[:, None] * np.linalg.norm(known_DN, axis=1) + 1e-12
        likeness_FD = video_FN @ known_DN.T / norms_FD
        best_F = likeness_FD.argmax(axis=1)
        around_F3 = (best_F[:, None] + np.arange(-1, 2)) % len(distances_D)
        tops_F = [
            top(likeness_D[around_3].tolist()) for likeness_D, around_3 in zip(likeness_FD, around_F3, strict=True)
        ]
        found_F = distances_D[best_F] + step * np.asarray(tops_F)
        # Unwrapped from no zoom at all, where the truth begins.
        turns_F = np.unwrap(np.insert(found_F, 0, 0.0), period=PERIOD * REFERENCE)[1:]
        moved_F = self.direction * turns_F
        path_FN2 = np.stack([moved_F, np.zeros_like(moved_F)], axis=-1)[:, None]
        return Track(path_FN2, likeness_FD.max(axis=1)[:, None])


def _disc(away_HW: Array) -> Array:
    """Return how far the disc covers what lies so far from the centre, in [0, 1]."""
    cover_HW: Array = np.exp(-((away_HW / DISC) ** 4))
    return cover_HW


def _without_mean(video_FN3: Array) -> Array:
    """Return each frame without its mean colour, as a vector, (F, 3 N)."""
    vectors_FN: Array = (video_FN3 - video_FN3.mean(axis=1, keepdims=True)).reshape(len(video_FN3), -1)
    return vectors_FN
