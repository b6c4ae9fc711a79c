"""Worlds with a known truth: videos by formula, of any length, on a torus so that they never end.

Lengths are in pixels of the small model's image, ``SIDE`` by ``SIDE``; times are in frames. The speed per frame is
what the motion bucket says, ``BUCKETS_PER_PIXEL`` times the pixels moved from one frame to the next; the frame rate
that the model is told says nothing about it.

Shape suffixes: F = frames, H, W = rows, columns, 2 = (x, y) with y downwards, 3 = red, green, blue.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Colour = tuple[float, float, float]

SIDE = 32
BUCKETS_PER_PIXEL = 100.0
SLOWEST, FASTEST = 0.1, 1.3  # pixels per frame
HELD_OUT_SEED = 1_000_000  # scenes from this seed on are never trained on


@dataclass(frozen=True, slots=True)
class Wave:
    """One sinusoid of the background: whole periods across the torus, its phase, and its amplitude per colour."""

    periods: tuple[int, int]
    phase: float
    amplitude: Colour


@dataclass(frozen=True, slots=True)
class Comet:
    """The truth of one video: a bright head with a tail behind it, in steady motion before a still background."""

    start: tuple[float, float]
    velocity: tuple[float, float]
    radius: float
    tail: float
    colour: Colour
    ground: Colour
    waves: tuple[Wave, ...]

    @property
    def speed(self) -> float:
        """Pixels per frame."""
        return float(np.hypot(*self.velocity))

    @property
    def motion_bucket(self) -> float:
        """What the model is told about the speed."""
        return BUCKETS_PER_PIXEL * self.speed

    def positions(self, times_F: Array) -> Array:
        """Return the centre of the head at each time, as (F, 2) in [0, SIDE)."""
        moved_F2 = np.asarray(self.start) + times_F[:, None] * np.asarray(self.velocity)
        position_F2: Array = np.mod(moved_F2, SIDE)
        return position_F2


def comet(seed: int, speed: float | None = None) -> Comet:
    """Draw a comet; the same seed gives the same one, at another speed if asked."""
    rng = np.random.default_rng(seed)
    drawn = rng.uniform(SLOWEST, FASTEST)
    angle = rng.uniform(0, 2 * np.pi)
    pace = drawn if speed is None else speed
    waves = [_wave(rng, periods, 0.05) for periods in ((1, 0), (0, 1), (1, 1), (1, -1))]
    waves += [_wave(rng, (int(rng.integers(2, 5)), int(rng.integers(-4, 5))), 0.015) for _ in range(2)]
    start = rng.uniform(0, SIDE, 2)
    return Comet(
        start=(float(start[0]), float(start[1])),
        velocity=(pace * float(np.cos(angle)), pace * float(np.sin(angle))),
        radius=rng.uniform(2.2, 3.4),
        tail=rng.uniform(10.0, 14.0),
        colour=_colour(rng, 0.65, 1.0),
        ground=_colour(rng, 0.15, 0.4),
        waves=tuple(waves),
    )


def background(scene: Comet, size: int = SIDE) -> Array:
    """Return the still background as (H, W, 3) in [0, 1]."""
    y_H1, x_1W = _grid(size)
    ground_HW3 = np.broadcast_to(np.asarray(scene.ground), (size, size, 3)).copy()
    for wave in scene.waves:
        across_HW = wave.periods[0] * x_1W + wave.periods[1] * y_H1
        ground_HW3 += np.sin(2 * np.pi * across_HW / SIDE + wave.phase)[..., None] * np.asarray(wave.amplitude)
    return np.clip(ground_HW3, 0.0, 1.0, out=ground_HW3)


def coverage(scene: Comet, times_F: Array, size: int = SIDE) -> Array:
    """Return how far the comet covers the background, as (F, H, W) in [0, 1]."""
    y_H1, x_1W = _grid(size)
    position_F2 = scene.positions(times_F)
    x_F1W = _wrap(x_1W - position_F2[:, 0, None, None])
    y_FH1 = _wrap(y_H1 - position_F2[:, 1, None, None])
    ahead, aside = _direction(scene)
    along_FHW = x_F1W * ahead + y_FH1 * aside
    across_FHW = y_FH1 * ahead - x_F1W * aside
    head_FHW = _soft_edge(scene.radius - np.hypot(along_FHW, across_FHW))
    fade_FHW = np.clip(1 + along_FHW / scene.tail, 0.0, 1.0) * _soft_edge(-along_FHW)
    width_FHW = 0.8 * scene.radius * np.maximum(fade_FHW, 0.4)
    tail_FHW = 0.9 * fade_FHW * np.exp(-0.5 * (across_FHW / width_FHW) ** 2)
    return np.maximum(head_FHW, tail_FHW)


def render(scene: Comet, times_F: Array, size: int = SIDE) -> Array:
    """Return the frames at these times (whole or not) as (F, H, W, 3) in [0, 1]."""
    cover_FHW1 = coverage(scene, times_F, size)[..., None]
    return background(scene, size) * (1 - cover_FHW1) + np.asarray(scene.colour) * cover_FHW1


def _grid(size: int) -> tuple[Array, Array]:
    """Return the middles of the rows, (H, 1), and of the columns, (1, W), in pixels of the small image."""
    middles = (np.arange(size) + 0.5) * SIDE / size
    return middles[:, None], middles[None, :]


def _wrap(offset: Array) -> Array:
    """Return the shortest way round the torus, in [-SIDE / 2, SIDE / 2)."""
    return np.mod(offset + SIDE / 2, SIDE) - SIDE / 2


def _soft_edge(inside: Array) -> Array:
    """Go from 0 to 1 over about two pixels, so that motion by a fraction of a pixel shows."""
    return 1 / (1 + np.exp(-2.5 * inside))


def _direction(scene: Comet) -> tuple[float, float]:
    if scene.speed == 0:
        return 1.0, 0.0
    return scene.velocity[0] / scene.speed, scene.velocity[1] / scene.speed


def _wave(rng: np.random.Generator, periods: tuple[int, int], amplitude: float) -> Wave:
    return Wave(periods, float(rng.uniform(0, 2 * np.pi)), _colour(rng, -amplitude, amplitude))


def _colour(rng: np.random.Generator, low: float, high: float) -> Colour:
    red, green, blue = (float(part) for part in rng.uniform(low, high, 3))
    return red, green, blue


@dataclass(frozen=True, slots=True)
class Motion:
    """How the comet moved in a video: its unwrapped path from the first frame on, and the area that it covers."""

    path_F2: Array
    area_F: Array

    @property
    def velocity(self) -> Array:
        """The slope of the straight line through the path, (x, y) in pixels per frame; needs two frames."""
        slope_2: Array = np.polyfit(np.arange(len(self.path_F2)), self.path_F2, 1)[0]
        return slope_2


def follow(scene: Comet, video_FHW3: Array) -> Motion:
    """Follow the comet of ``scene`` through a video of it, in pixels of the small image."""
    size = video_FHW3.shape[1]
    ground_HW3 = background(scene, size)
    contrast_HW3 = np.asarray(scene.colour) - ground_HW3
    cover_FHW = ((video_FHW3 - ground_HW3) * contrast_HW3).sum(-1) / (contrast_HW3**2).sum(-1)
    cover_FHW = np.clip(cover_FHW, 0.0, 1.0)
    weights_FHW = cover_FHW**2  # squared, so that a faint haze everywhere counts little
    turns_S = np.exp(2j * np.pi * (np.arange(size) + 0.5) / size)  # a mean on a circle knows no border
    x_F = np.angle((weights_FHW * turns_S[None, None, :]).sum((1, 2))) * SIDE / (2 * np.pi)
    y_F = np.angle((weights_FHW * turns_S[None, :, None]).sum((1, 2))) * SIDE / (2 * np.pi)
    middle_F2 = np.stack([x_F, y_F], axis=1)
    steps_F2 = _wrap(np.diff(middle_F2, axis=0, prepend=middle_F2[:1]))
    return Motion(np.cumsum(steps_F2, axis=0), cover_FHW.sum((1, 2)) * (SIDE / size) ** 2)
