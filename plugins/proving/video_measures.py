"""What can be said of any video without knowing what it should show: flicker, jumps, drift, repetition.

Every measure is a curve over the frames or over the steps between them, and one number from it. None of them alone
says that a video is good: a still image is perfect in most.

Shape suffixes: F = frames, S = steps between frames (F - 1), H, W = rows, columns, 3 = red, green, blue, 2 = (x, y).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import LongtakeError

Array = NDArray[np.float64]
Frames = NDArray[np.uint8]
Flow = NDArray[np.float32]

BLOCKS = 8  # the picture is cut into so many rows and columns of blocks, where brightness is compared
STILL = 1e-9


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure of one video.

    Attributes:
        name: of the measure.
        value: its number for the whole video; NaN where it means nothing.
        unit: of the number.
        better: "lower", "higher", or "" where neither is better by itself.
        meaning: in a sentence.
        curve: over frames or steps, for a plot.

    """

    name: str
    value: float
    unit: str
    better: str
    meaning: str
    curve: Array


def measure_video(frames_FHW3: Frames) -> list[Measure]:
    """Measure a video of at least three frames.

    Args:
        frames_FHW3: in uint8.

    Raises:
        LongtakeError: it is shorter, or OpenCV, whose optical flow is used, is not installed.

    """
    if len(frames_FHW3) < 3:
        raise LongtakeError(f"a video needs at least 3 frames to be measured, got {len(frames_FHW3)}")
    grey_FHW = _grey(frames_FHW3)
    warped, moved = warp_and_motion(grey_FHW)
    return [
        flicker(frames_FHW3),
        warped,
        moved,
        stutter(moved),
        unexplained(warped, moved),
        seam(frames_FHW3),
        repetition(frames_FHW3),
        retreat(frames_FHW3),
        colour_drift(frames_FHW3),
        sharpness_drift(grey_FHW),
    ]


def flicker(frames_FHW3: Frames) -> Measure:
    """Measure brightness that jumps up and down: half the second difference, which steady change does not have."""
    blocks_FYX = _block_brightness(frames_FHW3)
    second_F = np.abs(blocks_FYX[1:-1] - (blocks_FYX[:-2] + blocks_FYX[2:]) / 2).mean(axis=(1, 2))
    return Measure(
        "flicker",
        float(second_F.mean()),
        "grey levels",
        "lower",
        "how much the brightness of blocks differs from the mean of the frames before and after",
        second_F,
    )


def warp_and_motion(grey_FHW: Frames) -> tuple[Measure, Measure]:
    """Measure how far things move by optical flow, and what of the difference between frames it does not explain."""
    # One step at a time: the flow of a long video takes more memory than the video.
    curves_S2 = np.array([(_unexplained_by(flow, pair), _length(flow)) for pair, flow in optical_flow(grey_FHW)])
    return (
        Measure(
            "warp error",
            float(np.nanmean(curves_S2[:, 0])),
            "grey levels",
            "lower",
            "what is left of the difference of two frames once the second is moved back along the optical flow",
            curves_S2[:, 0],
        ),
        Measure(
            "motion",
            float(curves_S2[:, 1].mean()),
            "pixels per frame",
            "",
            "mean length of the optical flow",
            curves_S2[:, 1],
        ),
    )


def _unexplained_by(flow_HW2: Flow, pair: tuple[Frames, Frames]) -> float:
    cv2 = _opencv()
    before_HW, after_HW = pair
    rows, columns = np.mgrid[0 : before_HW.shape[0], 0 : before_HW.shape[1]].astype(np.float32)
    x, y = columns + flow_HW2[..., 0], rows + flow_HW2[..., 1]
    inside = (x >= 0) & (x <= columns.max()) & (y >= 0) & (y <= rows.max())
    back_HW = cv2.remap(after_HW, x, y, cv2.INTER_LINEAR)
    differences = np.abs(back_HW.astype(float) - before_HW)[inside]
    return float(differences.mean()) if differences.size else math.nan


def _length(flow_HW2: Flow) -> float:
    return float(np.hypot(flow_HW2[..., 0], flow_HW2[..., 1]).mean(dtype=np.float64))


def _steady(moved: Measure) -> float:
    """Return the mean motion of the slower of two neighbouring steps: none in a video whose frames are held."""
    return float(np.minimum(moved.curve[:-1], moved.curve[1:]).mean())


def stutter(moved: Measure) -> Measure:
    """Measure motion that stops and goes: 0 where neighbouring steps move alike, 1 where every second one is held."""
    still = moved.value <= STILL
    return Measure(
        "stutter",
        math.nan if still else 1 - _steady(moved) / moved.value,
        "share of the motion",
        "lower",
        "motion that is not there in both of two neighbouring steps: frames that are held, and jumps",
        np.abs(np.diff(moved.curve)) / (2 * moved.value) if not still else np.full(len(moved.curve) - 1, math.nan),
    )


def unexplained(warped: Measure, moved: Measure) -> Measure:
    """Set the warp error against steady motion, without which still videos and held frames would be the best of all."""
    steady = _steady(moved)
    still = steady <= STILL
    return Measure(
        "unexplained per pixel",
        math.nan if still else warped.value / steady,
        "grey levels per pixel",
        "lower",
        "warp error over steady motion; a video that hardly moves, or stutters, does badly",
        warped.curve / steady if not still else np.full_like(warped.curve, math.nan),
    )


def seam(frames_FHW3: Frames) -> Measure:
    """Compare the largest jump between neighbouring frames with the usual one."""
    jumps_S = _differences(frames_FHW3)
    usual = float(np.median(jumps_S))
    value = float(jumps_S.max()) / usual if usual > STILL else (math.inf if jumps_S.max() > STILL else 1.0)
    return Measure("seam", value, "times", "lower", "largest jump between neighbours over the median jump", jumps_S)


def repetition(frames_FHW3: Frames) -> Measure:
    """Count frames of the second half that come back to one of the first half, nearer than neighbours are."""
    small_FN = _small(frames_FHW3)
    usual = float(np.median(np.linalg.norm(np.diff(small_FN, axis=0), axis=1)))
    half = len(small_FN) // 2
    # A quarter of the video must lie between, or a slow video would repeat itself all the time.
    gap = max(2, len(small_FN) // 4)
    nearest = [
        np.linalg.norm(small_FN[: min(half, frame - gap + 1)] - small_FN[frame], axis=1).min()
        for frame in range(max(half, gap), len(small_FN))  # one of three frames has only the first to come back to
    ]
    curve_F = np.array(nearest) / usual if usual > STILL else np.zeros(len(nearest))
    return Measure(
        "repetition",
        float((curve_F < 1).mean()),
        "share of frames",
        "lower",
        "later frames that are nearer to an early frame than neighbouring frames are to each other",
        curve_F,
    )


def retreat(frames_FHW3: Frames) -> Measure:
    """Measure how far the video goes back to its first frame after having been farthest from it."""
    small_FN = _small(frames_FHW3)
    away_F = np.linalg.norm(small_FN - small_FN[0], axis=1)
    farthest = float(away_F.max())
    value = 1 - float(away_F[-1]) / farthest if farthest > STILL else math.nan
    return Measure(
        "retreat",
        value,
        "share of the way",
        "lower",
        "how much of the greatest distance from the first frame is gone at the last",
        away_F,
    )


def colour_drift(frames_FHW3: Frames) -> Measure:
    """Measure how far the mean colour has moved from that of the first frame, in CIELAB."""
    cv2 = _opencv()
    lab_F3 = np.stack([cv2.cvtColor(np.float32(frame) / 255, cv2.COLOR_RGB2LAB).mean((0, 1)) for frame in frames_FHW3])
    curve_F = np.linalg.norm(lab_F3 - lab_F3[0], axis=1)
    last = curve_F[-max(1, len(curve_F) // 4) :]
    return Measure(
        "colour drift",
        float(last.mean()),
        "delta E",
        "lower",
        "distance of the mean colour of the last quarter from that of the first frame (CIE76)",
        curve_F,
    )


def sharpness_drift(grey_FHW: Frames) -> Measure:
    """Compare how sharp the last quarter is with the first, by the variance of the Laplacian."""
    cv2 = _opencv()
    curve_F = np.array([cv2.Laplacian(frame, cv2.CV_64F).var() for frame in grey_FHW])
    quarter = max(1, len(curve_F) // 4)
    first, last = float(curve_F[:quarter].mean()), float(curve_F[-quarter:].mean())
    value = last / first if first > STILL else math.nan
    return Measure(
        "sharpness kept",
        value,
        "times",
        "higher",
        "variance of the Laplacian in the last quarter over that in the first",
        curve_F,
    )


def optical_flow(grey_FHW: Frames) -> Iterator[tuple[tuple[Frames, Frames], Flow]]:
    """Yield two neighbouring frames and the motion from one to the other, (H, W, 2) in pixels.

    By dense inverse search (Kroeger et al. 2016), as OpenCV has it.
    """
    cv2 = _opencv()
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    # It works on patches of 8 pixels and pyramids of them: small pictures are enlarged first.
    scale = max(1, math.ceil(128 / min(grey_FHW.shape[1:])))
    small = grey_FHW.shape[:0:-1]
    size = (small[0] * scale, small[1] * scale)
    for one, other in pairwise(grey_FHW):
        large = [cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC) for frame in (one, other)]
        yield (one, other), cv2.resize(flow.calc(*large, None), small, interpolation=cv2.INTER_AREA) / scale


def _grey(frames_FHW3: Frames) -> Frames:
    cv2 = _opencv()
    return np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames_FHW3])


def _block_brightness(frames_FHW3: Frames) -> Array:
    """Return the mean brightness of each block, (F, blocks, blocks)."""
    cv2 = _opencv()
    blocks = [
        cv2.resize(np.float32(frame).mean(-1), (BLOCKS, BLOCKS), interpolation=cv2.INTER_AREA) for frame in frames_FHW3
    ]
    return np.stack(blocks).astype(np.float64)


def _small(frames_FHW3: Frames) -> Array:
    """Return every frame as a vector of at most 64 x 64 coloured points, (F, N)."""
    cv2 = _opencv()
    size = tuple(min(64, side) for side in frames_FHW3.shape[2:0:-1])
    small = [cv2.resize(frame, size, interpolation=cv2.INTER_AREA).ravel() for frame in frames_FHW3]
    return np.stack(small).astype(np.float64)


def _differences(frames_FHW3: Frames) -> Array:
    """Return the mean absolute difference of neighbouring frames, (S,) in grey levels."""
    return np.array([np.abs(one.astype(np.float64) - other).mean() for one, other in pairwise(frames_FHW3)])


def _opencv() -> Any:
    try:
        import cv2
    except ImportError:
        raise LongtakeError("measuring videos needs OpenCV; install it with: pip install 'longtake[measure]'") from None
    return cv2
