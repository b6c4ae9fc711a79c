"""What a generated video does against the truth that it should show.

Slowed and true speed are kept apart: a video that shows the right motion at half the speed is wrong against the truth
and right against the truth with its best time scale.

Shape suffixes: F = frames, S = steps between frames, N = things that move, D = distances tried, H, W = rows, columns,
2 = (x, y), 3 = red, green, blue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .clips import Clip
from .worlds import World
from .worlds.canvas import Array, top

NEAR = 2.0  # pixels from the truth within which a thing is where it should be
PRESENT = (0.5, 1.8)  # how much of a thing there is, against the truth
VISIBLE = 0.8  # of a thing in the truth itself; less is hidden by another
SPEED_RANGE = (0.75, 1.33)  # realised over asked speed
QUARTER_RANGE = (0.5, 1.6)  # the same in each quarter of a video, where chance has more of a say
SLOWEST_VALID = 0.15  # of the asked speed: slower is standing still
MOST_FROZEN = 0.4  # of the steps; tracking alone makes some
LARGEST_STEP = 8.0  # in steps of the asked speed; tracking alone makes some larger than they are
SHARP = (0.75, 1.35)  # gradients in each quarter, against the truth
COLOURS_KEPT = 0.10  # mean error of the colours of what lies behind, in [0, 1], in each quarter
THING_KEPT = 0.15  # the same of what stands out before it: edges that are a pixel off count in full
FRAME_KEPT = 0.15  # the same of a whole frame, in every one
NOTHING_ELSE = 0.2  # the same of a patch, an eighth of the picture wide and high, where it is most
BACK = 0.1  # of the way asked for; frames so far behind the farthest place so far are a repetition
REACH, GRAIN = 8.0, 0.05  # how far from the frame before a frame's distance is looked for, in pixels, and how finely

Quarters = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Score:
    """Measures of one video; lower is better unless it says otherwise.

    Attributes:
        persistence: share of frames in which everything is there; higher is better.
        error: mean distance from the truth, in pixels.
        unevenness: the same against the truth at the video's own speed, as a share of the way that it goes; None where
            it hardly moves.
        speed: realised over asked speed; 1 is right.
        quarters: motion in each quarter of the video over what was asked for; 1 is right.
        jerk: root mean square of the third difference of the path, in pixels per frame cubed.
        retreat: share of the way that is gone back at the end.
        repetition: share of frames that are behind the farthest so far by a tenth of the way: they show what was there.
        frozen: share of steps with less than a quarter of the video's own speed, or of a tenth of the asked one.
        jump: largest step of the path over the usual one, the median or at least a quarter of the one asked for.
        seam: mean step at the borders of windows or chunks over the usual one; None without borders.
        identity: mean error of the colours of what stands out in each quarter, in [0, 1], against the truth where the
            video itself is.
        background: the same of what lies behind.
        stray: the same of the eighth by eighth of the picture and the quarter of the video where it is most.
        flash: mean error of the colours of the frame where it is most.
        sharpness: gradients in each quarter over those of the truth; 1 is right, less is blurred.
        path: how far the world has moved in each frame, in pixels.
        valid: everything there and nothing else, within 2 pixels at the right speed, moving on in every quarter,
            neither frozen nor jumping, colours and sharpness kept; higher is better.
        valid_slowed: the same at the video's own speed, if that is a speed.

    """

    persistence: float
    error: float
    unevenness: float | None
    speed: float
    quarters: Quarters
    jerk: float
    retreat: float
    repetition: float
    frozen: float
    jump: float
    seam: float | None
    identity: Quarters
    background: Quarters
    stray: float
    flash: float
    sharpness: Quarters
    path: tuple[float, ...]
    valid: bool
    valid_slowed: bool


def score(clip: Clip, video_FHW3: Array, borders: Sequence[int] = ()) -> Score:
    """Measure a video that should show ``clip``.

    Args:
        clip: with the truth.
        video_FHW3: at least five frames, in [0, 1].
        borders: the frames with which windows or chunks begin.

    Raises:
        ValueError: it has fewer frames.

    """
    frames = len(video_FHW3)
    if frames < 5:
        raise ValueError(f"a video needs at least 5 frames to be scored, got {frames}")
    track = clip.world.follow(video_FHW3)
    asked_F = clip.distances(frames)
    moved_F = travelled(clip.world, track.path_FN2)
    scale = float(moved_F @ asked_F / (asked_F @ asked_F))
    seen_FN = visible(clip.world, moved_F)
    errors_F = _errors(clip.world, asked_F, track.path_FN2, seen_FN)
    scaled_F = _errors(clip.world, scale * asked_F, track.path_FN2, seen_FN)
    there_FN = (track.presence_FN > PRESENT[0]) & (track.presence_FN < PRESENT[1])
    present_F = (there_FN | ~seen_FN).all(axis=1)
    identity, background, stray, flash = _drifts(clip.world, moved_F, video_FHW3)
    sharpness = _sharpness(clip.world, moved_F, video_FHW3)
    looks_right = bool(present_F.all()) and _kept(identity, background, stray, flash, sharpness)
    steps_S = np.diff(moved_F)
    usual = max(float(np.median(np.abs(steps_S))), clip.speed / 4)
    quarters, frozen = _quarters(steps_S, clip.speed), _frozen(steps_S, scale, clip.speed)
    moves = looks_right and frozen < MOST_FROZEN and float(np.abs(steps_S).max()) < LARGEST_STEP * clip.speed
    return Score(
        persistence=float(present_F.mean()),
        error=float(errors_F.mean()),
        unevenness=float(scaled_F.mean() / (scale * asked_F[-1])) if scale > SLOWEST_VALID else None,
        speed=scale,
        quarters=quarters,
        jerk=float(np.sqrt((np.diff(track.path_FN2, n=3, axis=0) ** 2).sum(-1).mean())),
        retreat=_retreat(moved_F),
        repetition=float((moved_F < np.maximum.accumulate(moved_F) - BACK * asked_F[-1]).mean()),
        frozen=frozen,
        jump=float(np.abs(steps_S).max()) / usual,
        seam=float(np.abs(steps_S[[border - 1 for border in borders]]).mean()) / usual if borders else None,
        identity=identity,
        background=background,
        stray=stray,
        flash=flash,
        sharpness=sharpness,
        path=tuple(moved_F.tolist()),
        valid=moves
        and bool(errors_F.max() < NEAR)
        and SPEED_RANGE[0] < scale < SPEED_RANGE[1]
        and _even(quarters, max(scale, 1.0), min(scale, 1.0)),
        valid_slowed=moves and bool(scaled_F.max() < NEAR) and scale > SLOWEST_VALID and _even(quarters, scale, scale),
    )


def _kept(identity: Quarters, background: Quarters, stray: float, flash: float, sharpness: Quarters) -> bool:
    """Whether colours and sharpness are kept, in the whole video, and nothing else has come in."""
    colours = max(identity) < THING_KEPT and max(background) < COLOURS_KEPT and flash < FRAME_KEPT
    return colours and stray < NOTHING_ELSE and SHARP[0] < min(sharpness) and max(sharpness) < SHARP[1]


def _even(quarters: Quarters, fastest: float, slowest: float) -> bool:
    """Whether every quarter moves as it should at a speed between these."""
    return QUARTER_RANGE[0] * slowest < min(quarters) and max(quarters) < QUARTER_RANGE[1] * fastest


def _frozen(steps_S: Array, scale: float, speed: float) -> float:
    return float((np.abs(steps_S) < 0.25 * max(abs(scale), 0.1) * speed).mean())


def travelled(world: World, path_FN2: Array) -> Array:
    """Return for each frame the distance at which the truth is nearest to what was followed, (F,) in pixels."""
    moved, before = [], 0.0
    for place_N2 in path_FN2:
        tried_D = before + np.arange(-REACH, REACH + GRAIN, GRAIN)
        away_D = np.linalg.norm(world.path(tried_D) - place_N2, axis=-1).mean(axis=-1)
        # Of distances that are equally near, the one nearest to the frame before.
        best = int(np.argmin(away_D + 1e-6 * np.abs(tried_D - before)))
        before = float(tried_D[best])
        # Between the tried ones the square of the distance is a parabola.
        between = top((-(away_D[best - 1 : best + 2] ** 2)).tolist()) if 0 < best < len(tried_D) - 1 else 0.0
        moved.append(before + GRAIN * between)
    return np.array(moved)


def visible(world: World, distances_F: Array) -> NDArray[np.bool_]:
    """Return which things can be seen at these distances, (F, N): not those that another thing hides."""
    return world.follow(world.render(distances_F)).presence_FN > VISIBLE


def _errors(world: World, distances_F: Array, path_FN2: Array, seen_FN: NDArray[np.bool_]) -> Array:
    """Return how far the worst thing seen in each frame is from where it should be, (F,) in pixels."""
    away_FN = np.linalg.norm(world.path(distances_F) - path_FN2, axis=-1)
    errors_F: Array = np.where(seen_FN, away_FN, 0.0).max(axis=-1)
    return errors_F


def _quarters(steps_S: Array, speed: float) -> Quarters:
    first, second, third, fourth = (float(part.mean() / speed) for part in np.array_split(steps_S, 4))
    return first, second, third, fourth


def _retreat(moved_F: Array) -> float:
    farthest = float(np.abs(moved_F).max())
    return float(1 - np.abs(moved_F[-1]) / farthest) if farthest > 0 else 0.0


def _drifts(world: World, moved_F: Array, video_FHW3: Array) -> tuple[Quarters, Quarters, float, float]:
    """Return errors of the colours: of what stands out and what lies behind, in the worst patch, in the worst frame."""
    size = video_FHW3.shape[1]
    away_FHW = np.abs(world.render(moved_F, size) - video_FHW3).mean(axis=-1)
    things_FHW = world.things(moved_F, size)
    behind_FHW = away_FHW * (1 - things_FHW)
    patches = [part.mean(axis=0).reshape(8, size // 8, 8, size // 8) for part in np.array_split(behind_FHW, 4)]
    stray = max(float(patch.mean(axis=(1, 3)).max()) for patch in patches)
    flash = float(away_FHW.mean(axis=(1, 2)).max())
    return _weighted(away_FHW, things_FHW), _weighted(away_FHW, 1 - things_FHW), stray, flash


def _weighted(away_FHW: Array, weights_FHW: Array) -> Quarters:
    parts = zip(np.array_split(away_FHW, 4), np.array_split(weights_FHW, 4), strict=True)
    first, second, third, fourth = (float(np.average(away, weights=weights)) for away, weights in parts)
    return first, second, third, fourth


def _sharpness(world: World, moved_F: Array, video_FHW3: Array) -> Quarters:
    truth_FHW3 = world.render(moved_F, video_FHW3.shape[1])
    quarters = (np.array_split(frames_FHW3, 4) for frames_FHW3 in (video_FHW3, truth_FHW3))
    first, second, third, fourth = (
        _gradients(made) / max(_gradients(true), 1e-9) for made, true in zip(*quarters, strict=True)
    )
    return first, second, third, fourth


def _gradients(video_FHW3: Array) -> float:
    return float(sum(np.abs(np.diff(video_FHW3, axis=axis)).mean() for axis in (1, 2)))
