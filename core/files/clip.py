"""Video files that FFmpeg reads: in true colours, upright, with square pixels.

Shape suffixes: F = frames, H, W = rows, columns, 3 = red, green, blue.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import numpy as np

from .colour import Frame, RgbReader, is_high_dynamic_range

logger = logging.getLogger("longtake")

TEXTS = ("ansi", "bintext", "idf", "xbin")  # what FFmpeg makes of text files: pictures of their letters


def read_clip(path: Path) -> Frame:
    """Return the frames of a video file, (F, H, W, 3) in uint8.

    Colour tags, rotation and the shape of pixels are obeyed. What cannot be kept (uneven times of frames, highlights
    of HDR) is logged as a warning of the logger ``longtake``.

    Raises:
        ValueError: it holds no pictures, text, or colours in a matrix that is not known.
        av.FFmpegError: it cannot be read.

    """
    return stacked(_decoded(path))


def rate_of_clip(path: Path) -> float | None:
    """Return the frames per second of a video file on average, None if it does not say so.

    Raises:
        av.FFmpegError: it cannot be read.

    """
    with av.open(path) as container:
        if not container.streams.video:
            return None
        stream = container.streams.video[0]
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        times = sorted(packet.pts for packet in container.demux(stream) if packet.pts is not None)
        if len(times) > 1 and times[-1] > times[0] and stream.time_base:
            # Of a clip with uneven times, some containers call the rate of most frames the average.
            counted = (len(times) - 1) / float((times[-1] - times[0]) * stream.time_base)
            rate = counted if abs(counted - rate) > 0.03 * rate else rate
        return rate or None


def stacked(pictures: Iterable[Frame]) -> Frame:
    """Return pictures as one array that grows with them: a list of them would be held beside it."""
    frames, count = np.empty((0, 0, 0, 0), np.uint8), 0
    for picture in pictures:
        if not count:
            frames = np.empty((1, *picture.shape), np.uint8)
        if picture.shape != frames.shape[1:]:
            raise ValueError(f"frame {count} is {picture.shape}, the first one {frames.shape[1:]}")
        if count == len(frames):
            frames.resize((count + max(count // 8, 1), *picture.shape), refcheck=False)
        frames[count] = picture
        count += 1
    frames.resize((count, *frames.shape[1:]), refcheck=False)
    return frames


def _decoded(path: Path) -> Iterator[Frame]:
    """Give the frames of a file that FFmpeg reads."""
    with av.open(path) as container:
        if not container.streams.video:
            raise ValueError("it holds no pictures")
        stream = container.streams.video[0]
        if stream.codec_context.name in TEXTS:
            raise ValueError("it holds text")
        stream.thread_type = "AUTO"
        read = RgbReader(stream.sample_aspect_ratio)
        times, bright = [], False
        for frame in container.decode(stream):
            times.append(frame.time)
            bright |= is_high_dynamic_range(frame)
            yield read(frame)
    if bright:
        logger.warning("%s is in HDR: it is read as sRGB, and what is brighter than reference white is cut off", path)
    gaps = np.diff([time for time in times if time is not None])
    if len(gaps) > 1 and gaps.max() > 1.5 * gaps.mean():
        logger.warning(
            "the frames of %s are not evenly spaced, %.3g to %.3g s apart; from here on they are, %.3g s apart",
            path, gaps.min(), gaps.max(), gaps.mean(),
        )  # fmt: skip
