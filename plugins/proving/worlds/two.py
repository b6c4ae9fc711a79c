"""Two comets of different colours that cross, each at its own angle, before a still background."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from .canvas import SIDE, Array, Ground, Track, World, wrap
from .comet import Body, follow_covers, unmix

COLOURS = ((1.0, 0.75, 0.3), (0.35, 0.8, 1.0))  # warm and cold, so that each can be told from the other

TRIED = 24


@dataclass(frozen=True, slots=True)
class Two(World):
    """A warm comet, and a cold one that flies above it."""

    kind: ClassVar[str] = "two"
    bodies: tuple[Body, Body]
    ground: Ground

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Self:
        """Draw two comets whose directions differ by 60 to 180 degrees."""
        warm = Body.draw(rng)
        # The farthest of many that fly another way, so that both are seen whole in the first frame.
        others = [other for other in (Body.draw(rng) for _ in range(TRIED)) if _between(warm, other) > np.pi / 3]
        cold = max(others, key=lambda other: _apart(warm, other))
        warm, cold = (
            replace(body, colour=colour, radius=0.85 * body.radius, tail=0.8 * body.tail)
            for body, colour in zip((warm, cold), COLOURS, strict=True)
        )
        return cls((warm, cold), Ground.draw(rng))

    def render(self, distances_F: Array, size: int = SIDE) -> Array:
        """Return the frames, (F, H, W, 3) in [0, 1]."""
        frames_FHW3 = np.broadcast_to(self.ground.render(size), (len(distances_F), size, size, 3))
        for body in self.bodies:
            cover_FHW1 = body.coverage(distances_F, size)[..., None]
            frames_FHW3 = frames_FHW3 * (1 - cover_FHW1) + np.asarray(body.colour) * cover_FHW1
        return frames_FHW3

    def path(self, distances_F: Array) -> Array:
        """Return the unwrapped middles of the heads, (F, 2, 2)."""
        return np.stack([body.path(distances_F) for body in self.bodies], axis=1)

    def things(self, distances_F: Array, size: int = SIDE) -> Array:
        """Return how far either comet covers the background, (F, H, W)."""
        return np.maximum(*(body.coverage(distances_F, size) for body in self.bodies))

    def flow(self, distances_F: Array, size: int = SIDE) -> Array:
        """Return the direction of whichever comet is seen, (F, H, W, 2)."""
        flow_FHW2 = np.zeros((len(distances_F), size, size, 2))
        for body in self.bodies:
            inside_FHW1 = body.coverage(distances_F, size)[..., None] > 0.5
            flow_FHW2 = np.where(inside_FHW1, np.asarray(body.direction), flow_FHW2)
        return flow_FHW2

    def follow(self, video_FHW3: Array) -> Track:
        """Follow both by their colours."""
        colours_N3 = np.asarray([body.colour for body in self.bodies])
        size = video_FHW3.shape[1]
        covers_FNHW = unmix(video_FHW3, self.ground.render(size), colours_N3)
        truth_NHW = np.concatenate([body.coverage(np.zeros(1), size) for body in self.bodies])
        return follow_covers(covers_FNHW, truth_NHW, self.path(np.zeros(1))[0])


def _between(one: Body, other: Body) -> float:
    """Return the angle between two directions, 0 ... pi."""
    first, second = (np.asarray(body.direction) for body in (one, other))
    return float(np.arccos(np.clip(first @ second, -1, 1)))


def _apart(one: Body, other: Body) -> float:
    """Return how far apart the nearest points of two comets, along their tails, begin, in pixels."""
    along_K1 = np.linspace(0, 1, 7)[:, None]
    first_K2, second_K2 = (
        np.asarray(body.start) - along_K1 * body.tail * np.asarray(body.direction) for body in (one, other)
    )
    return float(np.linalg.norm(wrap(first_K2[:, None] - second_K2), axis=-1).min())
