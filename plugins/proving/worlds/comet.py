"""A comet: a bright head with a tail behind it, which flies straight over a still background and round the torus.

It begins so that it does not reach the border for a while: a small model learns motion long before it learns borders.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from .canvas import (
    SIDE,
    Array,
    Colour,
    Ground,
    Point,
    Track,
    World,
    draw_colour,
    grid,
    middle_on_torus,
    soft_edge,
    unwrap,
    wrap,
)

NEAR = 2.5  # pixels from its middle within which a thing is looked for
ROOM = 12.0  # pixels that a thing flies before it comes to the border


@dataclass(frozen=True, slots=True)
class Body:
    """A head with a straight tail: where it begins, where it flies to, what it looks like."""

    start: Point
    angle: float
    radius: float
    tail: float
    colour: Colour

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Self:
        """Draw one of any direction and bright colour."""
        angle, radius, tail = (float(rng.uniform(*ends)) for ends in ((0, 2 * np.pi), (2.2, 3.0), (9.0, 12.0)))
        start = _clear_of_the_border(rng, angle, radius, tail)
        return cls(start, angle, radius, tail, colour=draw_colour(rng, 0.65, 1.0))

    @property
    def direction(self) -> Point:
        """Where it flies to, a unit vector."""
        return float(np.cos(self.angle)), float(np.sin(self.angle))

    def path(self, distances_F: Array) -> Array:
        """Return the unwrapped middle of the head, (F, 2)."""
        path_F2: Array = np.asarray(self.start) + distances_F[:, None] * np.asarray(self.direction)
        return path_F2

    def coverage(self, distances_F: Array, size: int = SIDE) -> Array:
        """Return how far it covers what is behind it, (F, H, W) in [0, 1]."""
        y_H1, x_1W = grid(size)
        place_F2 = self.path(distances_F)
        x_F1W = wrap(x_1W - place_F2[:, 0, None, None])
        y_FH1 = wrap(y_H1 - place_F2[:, 1, None, None])
        ahead, aside = self.direction
        return self.shape(x_F1W * ahead + y_FH1 * aside, y_FH1 * ahead - x_F1W * aside)

    def shape(self, along: Array, across: Array) -> Array:
        """Return the coverage at places relative to the head, along and across its direction."""
        head = soft_edge(self.radius - np.hypot(along, across))
        fade = np.clip(1 + along / self.tail, 0.0, 1.0) * soft_edge(-along)
        width = 0.8 * self.radius * np.maximum(fade, 0.4)
        covered: Array = np.maximum(head, 0.9 * fade * np.exp(-0.5 * (across / width) ** 2))
        return covered


def _clear_of_the_border(rng: np.random.Generator, angle: float, radius: float, tail: float) -> Point:
    """Draw a place such that all of a body stays on the canvas for the first ROOM pixels."""
    margin = radius + 0.5
    x, y = (
        float(rng.uniform(margin + max(tail * along, -ROOM * along), SIDE - margin - max(-tail * along, ROOM * along)))
        for along in (np.cos(angle), np.sin(angle))
    )
    return x, y


def follow_covers(covers_FNHW: Array, truth_NHW: Array, start_N2: Array) -> Track:
    """Follow things by what each of them covers.

    Args:
        covers_FNHW: what each covers in each frame of a video.
        truth_NHW: what each covers in the truth's first frame, at the same size.
        start_N2: where each is in the truth's first frame.

    """
    # A tail draws the middle away from the head, always by the same.
    aside_N2 = wrap(middles(truth_NHW[None])[0] - start_N2)
    path_FN2 = unwrap(middles(covers_FNHW) - aside_N2, start_N2)
    return Track(path_FN2, presence(covers_FNHW, truth_NHW))


def presence(covers_FNHW: Array, truth_NHW: Array) -> Array:
    """Return how much of each thing is near its middle, (F, N), where the truth has 1; a haze everywhere is little."""
    return _near_middle(covers_FNHW) / _near_middle(truth_NHW[None])


def _near_middle(covers_FNHW: Array) -> Array:
    y_H1, x_1W = grid(covers_FNHW.shape[-1])
    middle_FN2 = middles(covers_FNHW)
    x_FN1W = wrap(x_1W - middle_FN2[..., 0, None, None])
    y_FNH1 = wrap(y_H1 - middle_FN2[..., 1, None, None])
    near_FNHW = np.exp(-(x_FN1W**2 + y_FNH1**2) / (2 * NEAR**2))
    amount_FN: Array = (covers_FNHW * near_FNHW).sum((2, 3))
    return amount_FN


def middles(covers_FNHW: Array) -> Array:
    """Return the middle of each thing on the torus, (F, N, 2)."""
    # Squared, so that a faint haze everywhere counts little.
    return np.stack([middle_on_torus(cover_FHW**2) for cover_FHW in covers_FNHW.swapaxes(0, 1)], axis=1)


def unmix(video_FHW3: Array, ground_HW3: Array, colours_N3: Array) -> Array:
    """Return how much of each colour lies over a known background, (F, N, H, W) in [0, 1], by least squares."""
    contrasts_HW3N = np.moveaxis(colours_N3[:, None, None, :] - ground_HW3, 0, -1)
    covers_FHWN = np.einsum("hwnc,fhwc->fhwn", np.linalg.pinv(contrasts_HW3N, rcond=1e-2), video_FHW3 - ground_HW3)
    covers_FNHW: Array = np.clip(np.moveaxis(covers_FHWN, -1, 1), 0.0, 1.0)
    return covers_FNHW


@dataclass(frozen=True, slots=True)
class Comet(World):
    """One comet before a still background."""

    kind: ClassVar[str] = "comet"
    body: Body
    ground: Ground

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Self:
        """Draw a comet."""
        return cls(Body.draw(rng), Ground.draw(rng))

    def render(self, distances_F: Array, size: int = SIDE) -> Array:
        """Return the frames, (F, H, W, 3) in [0, 1]."""
        cover_FHW1 = self.body.coverage(distances_F, size)[..., None]
        return self.ground.render(size) * (1 - cover_FHW1) + np.asarray(self.body.colour) * cover_FHW1

    def path(self, distances_F: Array) -> Array:
        """Return the unwrapped middle of the head, (F, 1, 2)."""
        return self.body.path(distances_F)[:, None]

    def things(self, distances_F: Array, size: int = SIDE) -> Array:
        """Return how far the comet covers the background, (F, H, W)."""
        return self.body.coverage(distances_F, size)

    def flow(self, distances_F: Array, size: int = SIDE) -> Array:
        """Return the comet's direction where it covers more than half, (F, H, W, 2)."""
        inside_FHW1 = self.body.coverage(distances_F, size)[..., None] > 0.5
        return np.where(inside_FHW1, np.asarray(self.body.direction), 0.0)

    def follow(self, video_FHW3: Array) -> Track:
        """Follow the middle of what covers the background."""
        size = video_FHW3.shape[1]
        covers_FNHW = unmix(video_FHW3, self.ground.render(size), np.asarray([self.body.colour]))
        return follow_covers(covers_FNHW, self.body.coverage(np.zeros(1), size), self.path(np.zeros(1))[0])
