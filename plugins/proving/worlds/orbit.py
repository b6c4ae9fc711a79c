"""A comet on a circle; its bent tail shows where the circle lies and which way round it goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from .canvas import SIDE, Array, Ground, Point, Track, World, grid, wrap
from .comet import Body, middles, presence, unmix


@dataclass(frozen=True, slots=True)
class Orbit(World):
    """A comet that goes round and round; ``body.angle`` is where on the circle it begins."""

    kind: ClassVar[str] = "orbit"
    body: Body
    ground: Ground
    centre: Point
    radius: float
    turn: int  # 1 = clockwise as seen, since y points down; -1 = the other way

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Self:
        """Draw an orbit that lies on the canvas whole."""
        body, ground = Body.draw(rng), Ground.draw(rng)
        radius = float(rng.uniform(6.0, 10.0))
        margin = radius + body.radius + 0.5
        x, y = (float(rng.uniform(margin, SIDE - margin)) for _ in range(2))
        return cls(body, ground, (x, y), radius, 1 if rng.random() < 0.5 else -1)

    def angles(self, distances_F: Array) -> Array:
        """Return where on the circle the head is, (F,) in radians."""
        return self.body.angle + self.turn * distances_F / self.radius

    def path(self, distances_F: Array) -> Array:
        """Return the middle of the head, (F, 1, 2)."""
        angles_F = self.angles(distances_F)
        around_F2 = self.radius * np.stack([np.cos(angles_F), np.sin(angles_F)], axis=-1)
        return (np.asarray(self.centre) + around_F2)[:, None]

    def coverage(self, distances_F: Array, size: int = SIDE) -> Array:
        """Return how far the comet covers the background, (F, H, W): its straight shape bent round the circle."""
        away_HW, angle_HW = self._polar(size)
        lag_FHW = self.turn * (angle_HW - self.angles(distances_F)[:, None, None])
        lag_FHW = np.mod(lag_FHW + 1.5 * np.pi, 2 * np.pi) - 1.5 * np.pi  # a quarter turn ahead, the rest behind
        return self.body.shape(lag_FHW * self.radius, np.broadcast_to(away_HW - self.radius, lag_FHW.shape))

    def _polar(self, size: int) -> tuple[Array, Array]:
        y_H1, x_1W = grid(size)
        x_HW, y_HW = np.broadcast_arrays(wrap(x_1W - self.centre[0]), wrap(y_H1 - self.centre[1]))
        return np.hypot(x_HW, y_HW), np.arctan2(y_HW, x_HW)

    def render(self, distances_F: Array, size: int = SIDE) -> Array:
        """Return the frames, (F, H, W, 3) in [0, 1]."""
        cover_FHW1 = self.coverage(distances_F, size)[..., None]
        return self.ground.render(size) * (1 - cover_FHW1) + np.asarray(self.body.colour) * cover_FHW1

    def things(self, distances_F: Array, size: int = SIDE) -> Array:
        """Return how far the comet covers the background, (F, H, W)."""
        return self.coverage(distances_F, size)

    def flow(self, distances_F: Array, size: int = SIDE) -> Array:
        """Return the motion round the centre where the comet covers more than half, (F, H, W, 2)."""
        away_HW, angle_HW = self._polar(size)
        round_HW2 = self.turn * np.stack([-np.sin(angle_HW), np.cos(angle_HW)], axis=-1)
        speed_HW1 = (away_HW / self.radius)[..., None]
        return np.where(self.coverage(distances_F, size)[..., None] > 0.5, round_HW2 * speed_HW1, 0.0)

    def follow(self, video_FHW3: Array) -> Track:
        """Follow the middle of what covers the background; the tail draws it aside by the same angle everywhere."""
        size = video_FHW3.shape[1]
        covers_FNHW = unmix(video_FHW3, self.ground.render(size), np.asarray([self.body.colour]))
        truth_1HW = self.coverage(np.zeros(1), size)
        centre_2 = np.asarray(self.centre)
        true_2 = wrap(middles(truth_1HW[None])[0, 0] - centre_2)
        # The tail draws the middle aside and inwards, by an angle and a factor that are the same all round.
        aside = complex(*true_2) / (self.radius * np.exp(1j * self.body.angle))
        around_F2 = wrap(middles(covers_FNHW)[:, 0] - centre_2)
        placed_F = (around_F2[:, 0] + 1j * around_F2[:, 1]) / aside
        path_F2 = centre_2 + np.stack([placed_F.real, placed_F.imag], axis=-1)
        return Track(path_F2[:, None], presence(covers_FNHW, truth_1HW))
