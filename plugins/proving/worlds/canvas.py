"""What the worlds share: the torus that they are drawn on, their colours, and what a world is.

Lengths are in pixels of the small model's image, ``SIDE`` by ``SIDE``, whatever the size at which it is drawn. A world
has one degree of freedom, the distance that it has moved; how far it moves from frame to frame is the speed of a clip.

Shape suffixes: F = frames, N = things that move, H, W = rows, columns, 2 = (x, y) with y downwards, 3 = red, green,
blue.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Colour = tuple[float, float, float]
Point = tuple[float, float]

SIDE = 32


@dataclass(frozen=True, slots=True)
class Track:
    """What was followed through a video.

    Attributes:
        path_FN2: unwrapped place of each thing in each frame, in pixels; like :meth:`World.path`.
        presence_FN: how much of each thing there is, 1 where it is as in the truth.

    """

    path_FN2: Array
    presence_FN: Array


class World(ABC):
    """One world with its truth; a frozen dataclass that ``draw`` fills from a seed."""

    kind: ClassVar[str]

    @classmethod
    @abstractmethod
    def draw(cls, rng: np.random.Generator) -> Self:
        """Draw a world; the same generator state gives the same one."""

    @abstractmethod
    def render(self, distances_F: Array, size: int = SIDE) -> Array:
        """Return the frames at which the world has moved so far, (F, H, W, 3) in [0, 1]."""

    @abstractmethod
    def path(self, distances_F: Array) -> Array:
        """Return the unwrapped place of each thing that moves, (F, N, 2) in pixels."""

    @abstractmethod
    def flow(self, distances_F: Array, size: int = SIDE) -> Array:
        """Return how each pixel moves for each pixel of distance, (F, H, W, 2); zero where nothing moves."""

    @abstractmethod
    def things(self, distances_F: Array, size: int = SIDE) -> Array:
        """Return how far what stands out covers what lies behind it, (F, H, W) in [0, 1]."""

    @abstractmethod
    def follow(self, video_FHW3: Array) -> Track:
        """Find the world's things in a video that should show it."""


@dataclass(frozen=True, slots=True)
class Wave:
    """A wave on a surface that closes on itself: whole periods along its two axes, phase, amplitude per colour."""

    periods: tuple[int, int]
    phase: float
    amplitude: Colour


@dataclass(frozen=True, slots=True)
class Ground:
    """A smooth, slightly textured background that closes on itself."""

    colour: Colour
    waves: tuple[Wave, ...]

    @classmethod
    def draw(cls, rng: np.random.Generator, strength: float = 1.0, low: float = 0.15, high: float = 0.4) -> Self:
        """Draw a background of four broad waves and two fine ones."""
        waves = [_wave(rng, periods, 0.05 * strength) for periods in ((1, 0), (0, 1), (1, 1), (1, -1))]
        waves += [_wave(rng, (int(rng.integers(2, 5)), int(rng.integers(-4, 5))), 0.015 * strength) for _ in range(2)]
        return cls(draw_colour(rng, low, high), tuple(waves))

    def render(self, size: int = SIDE, moved: Point = (0.0, 0.0)) -> Array:
        """Return it as (H, W, 3) in [0, 1], moved by so many pixels."""
        y_H1, x_1W = grid(size)
        ground_HW3 = np.broadcast_to(np.asarray(self.colour), (size, size, 3)).copy()
        for wave in self.waves:
            across_HW = wave.periods[0] * (x_1W - moved[0]) + wave.periods[1] * (y_H1 - moved[1])
            ground_HW3 += np.sin(2 * np.pi * across_HW / SIDE + wave.phase)[..., None] * np.asarray(wave.amplitude)
        return np.clip(ground_HW3, 0.0, 1.0, out=ground_HW3)


def grid(size: int) -> tuple[Array, Array]:
    """Return the middles of the rows, (H, 1), and of the columns, (1, W), in pixels of the small image."""
    middles = (np.arange(size) + 0.5) * SIDE / size
    return middles[:, None], middles[None, :]


def wrap(offset: Array) -> Array:
    """Return the shortest way round the torus, in [-SIDE / 2, SIDE / 2)."""
    return np.mod(offset + SIDE / 2, SIDE) - SIDE / 2


def unwrap(places_FN2: Array, start_N2: Array) -> Array:
    """Return a path without the jumps at the border, given places on the torus and near where the first one is."""
    steps_FN2 = wrap(np.diff(places_FN2, axis=0, prepend=start_N2[None]))
    path_FN2: Array = start_N2 + np.cumsum(steps_FN2, axis=0)
    return path_FN2


def soft_edge(inside: Array) -> Array:
    """Go from 0 to 1 over about two pixels, so that motion by a fraction of a pixel shows."""
    edge: Array = 1 / (1 + np.exp(-2.5 * inside))
    return edge


def draw_colour(rng: np.random.Generator, low: float, high: float) -> Colour:
    """Draw red, green and blue, each between the bounds."""
    red, green, blue = (float(part) for part in rng.uniform(low, high, 3))
    return red, green, blue


def middle_on_torus(weights_FHW: Array) -> Array:
    """Return the weighted mean place on the torus, (F, 2): a mean on a circle knows no border."""
    size = weights_FHW.shape[1]
    turns_S = np.exp(2j * np.pi * (np.arange(size) + 0.5) / size)
    x_F = np.angle((weights_FHW * turns_S[None, None, :]).sum((1, 2))) * SIDE / (2 * np.pi)
    y_F = np.angle((weights_FHW * turns_S[None, :, None]).sum((1, 2))) * SIDE / (2 * np.pi)
    return np.stack([x_F, y_F], axis=1)


def top(values: list[float]) -> float:
    """Return where between -1/2 and 1/2 the parabola through three neighbouring values is highest."""
    before, middle, after = values
    bend = before - 2 * middle + after
    return float(np.clip((before - after) / (2 * bend), -0.5, 0.5)) if bend < 0 else 0.0


def _wave(rng: np.random.Generator, periods: tuple[int, int], amplitude: float) -> Wave:
    return Wave(periods, float(rng.uniform(0, 2 * np.pi)), draw_colour(rng, -amplitude, amplitude))
