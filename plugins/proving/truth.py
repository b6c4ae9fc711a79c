"""The whole truth of a clip, frame by frame, for measures that are not ours.

Shape suffixes: F = frames, N = things that move, H, W = rows, columns, 2 = (x, y) with y downwards, 3 = red, green,
blue.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .clips import Clip
from .worlds import SIDE
from .worlds.canvas import Array

NUDGE = 1e-4  # pixels; paths are smooth, so the error of a derivative is far below what a float32 holds


@dataclass(frozen=True, slots=True)
class Truth:
    """What is to be seen in each frame of a clip.

    Lengths are in pixels of the small model's image, 32 by 32, whatever the size of the frames.

    Attributes:
        frames_FHW3: the clip itself, in [0, 1].
        positions_FN2: the unwrapped place of each thing that moves; of a pan how far it has moved, of a zoom its depth.
        velocities_FN2: of each thing at each frame, in pixels a frame.
        flow_FHW2: where each pixel of a frame is going, in pixels a frame.
        things_FHW: how far what stands out covers what is behind it, in [0, 1].
        colours_F3: mean colour of what stands out.
        grounds_F3: mean colour of what is behind it.

    """

    frames_FHW3: Array
    positions_FN2: Array
    velocities_FN2: Array
    flow_FHW2: Array
    things_FHW: Array
    colours_F3: Array
    grounds_F3: Array


def truth_of(clip: Clip, frames: int, size: int = SIDE) -> Truth:
    """Return the truth of so many frames of a clip, drawn at a size."""
    world, distances_F = clip.world, clip.distances(frames)
    frames_FHW3, things_FHW = clip.render(frames, size), world.things(distances_F, size)
    ahead, behind = world.path(distances_F + NUDGE), world.path(distances_F - NUDGE)
    return Truth(
        frames_FHW3,
        world.path(distances_F),
        clip.speed * (ahead - behind) / (2 * NUDGE),
        clip.speed * world.flow(distances_F, size),
        things_FHW,
        _mean_colour(frames_FHW3, things_FHW),
        _mean_colour(frames_FHW3, 1 - things_FHW),
    )


def _mean_colour(frames_FHW3: Array, weights_FHW: Array) -> Array:
    weighted_F3 = np.einsum("fhwc,fhw->fc", frames_FHW3, weights_FHW)
    mean_F3: Array = weighted_F3 / weights_FHW.sum((1, 2))[:, None]
    return mean_F3
