"""Colours of the video files that are written: RGB to YUV or to a palette, so that no mean moves.

Shape suffixes: H, W = rows, columns, 3 = red, green, blue.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import av
import av.filter
import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]

LIMITED = 1  # FFmpeg's number for the range from 16 to 235
PIECE, MARGIN = 2048, 64  # pixels filtered together, and on each side beside them; even


class Tags(NamedTuple):
    """Colour tags of a file in FFmpeg's numbers, and the share of red and blue in luma."""

    matrix: int
    primaries: int
    transfer: int
    red: float
    blue: float


BT709 = Tags(1, 1, 1, 0.2126, 0.0722)
BT601 = Tags(6, 1, 1, 0.299, 0.114)  # only the matrix: the primaries are those of sRGB


def tags_of_size(height: int, width: int) -> Tags:
    """Return BT.709 for high definition and BT.601 for anything smaller, which players assume where tags are missing.

    Shown without a GPU, Chromium rounds the coefficients of BT.709 so that blue is off by up to 12 levels, those of
    BT.601 by 2.
    """
    return BT709 if height >= 720 or width >= 1280 else BT601


class YuvWriter:
    """Converts frames of even height and width to yuv420p in limited range.

    FFmpeg's scaler averages chroma by a filter that its own reading does not undo, so that colours run a little further
    at each round. Here the chroma is the one that comes closest to the frame once it is read (least squares), and a
    frame that was read from such a file gives the same numbers again.
    """

    def __init__(self, tags: Tags, siting: str) -> None:
        """Set the format.

        Args:
            tags: matrix to use, and the tags that frames get.
            siting: where chroma samples lie along a row, ``left`` (MPEG) or ``center`` (WebP).

        """
        self.tags, self.siting = tags, siting

    def __call__(self, frame_HW3: Frame) -> av.VideoFrame:
        """Return a frame in yuv420p that carries its tags."""
        red, blue = self.tags.red, self.tags.blue
        r_HW, g_HW, b_HW = np.float32(1 / 255) * np.moveaxis(frame_HW3, -1, 0)
        luma_HW = red * r_HW + (1 - red - blue) * g_HW + blue * b_HW
        small = []
        for colour_HW in (b_HW, r_HW):
            columns_HX = _halved(colour_HW - luma_HW, self.siting, self.siting)
            small.append(_halved(columns_HX.T, "center", self.siting).T)
        planes = 16 + 219 * luma_HW, 128 + 112 / (1 - blue) * small[0], 128 + 112 / (1 - red) * small[1]
        frame = av.VideoFrame(frame_HW3.shape[1], frame_HW3.shape[0], "yuv420p")
        for plane, values in zip(frame.planes, planes, strict=True):
            padded = np.zeros((plane.height, plane.line_size), np.uint8)
            padded[:, : plane.width] = np.clip(np.rint(values), 0, 255)
            plane.update(padded)
        frame.colorspace, frame.color_range = self.tags.matrix, LIMITED
        frame.color_primaries, frame.color_trc = self.tags.primaries, self.tags.transfer
        return frame


def _halved(values_AS: NDArray[np.float32], siting: str, reader: str) -> NDArray[np.float32]:
    """Return chroma filtered along the last axis, (A, S / 2); see :func:`chroma_filter`.

    The filter of a long axis would be a huge matrix, most of it zeros: it fades within a few pixels. So a long axis is
    filtered in pieces that overlap.
    """
    size, made = values_AS.shape[-1], []
    for start in range(0, size, PIECE):
        stop = min(size, start + PIECE)
        first, last = max(0, start - MARGIN), min(size, stop + MARGIN)
        filtered = values_AS[:, first:last] @ chroma_filter(last - first, siting, reader).T
        made.append(filtered[:, (start - first) // 2 : (stop - first) // 2])
    return np.concatenate(made, axis=-1)


@lru_cache(maxsize=8)
def chroma_filter(size: int, siting: str, reader: str) -> NDArray[np.float32]:
    """Return the filter, (size / 2, size), whose chroma comes closest to the given one when it is read.

    Args:
        size: rows or columns, even.
        siting: along this axis; ``left``: a sample lies on every second pixel, ``center``: between two.
        reader: siting of the format: ``left`` is read by FFmpeg's bicubic filter, ``center`` by libwebp's linear one.

    """
    samples = size // 2
    places = (np.arange(size) - (0.5 if siting == "center" else 0)) / 2
    taps = np.floor(places).astype(int)[:, None] + np.arange(-1, 3)
    weights = (_cubic if reader == "left" else _linear)(np.abs(taps - places[:, None]))
    reading = np.zeros((size, samples))
    np.add.at(reading, (np.arange(size)[:, None], taps.clip(0, samples - 1)), weights)
    return np.linalg.solve(reading.T @ reading, reading.T).astype(np.float32)


def _linear(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(1 - distance, 0)


def _cubic(distance: NDArray[np.float64], sharpness: float = -0.6) -> NDArray[np.float64]:
    """Return the kernel of FFmpeg's ``bicubic``."""
    x, a = distance, sharpness
    near, far = (a + 2) * x**3 - (a + 3) * x**2 + 1, a * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x < 1, near, np.where(x < 2, far, 0))


class PaletteWriter:
    """Gives each frame of a GIF its own 256 colours, without waiting for later frames."""

    def __init__(self, height: int, width: int) -> None:
        """Build the conversion for frames of one size."""
        graph = av.filter.Graph()
        graph.threads = 1
        size = f"video_size={width}x{height}:pix_fmt=rgb24:time_base=1/1000:pixel_aspect=1/1"
        source, copies, sink = graph.add("buffer", size), graph.add("split"), graph.add("buffersink")
        palette = graph.add("palettegen", "stats_mode=single:reserve_transparent=0")
        paint = graph.add("paletteuse", "new=1")
        source.link_to(copies)
        copies.link_to(palette, 0, 0)
        copies.link_to(paint, 1, 0)
        palette.link_to(paint, 0, 1)
        paint.link_to(sink)
        graph.configure()
        self.graph, self.count = graph, 0

    def __call__(self, frame_HW3: Frame) -> av.VideoFrame:
        """Return a frame in pal8."""
        frame = av.VideoFrame.from_ndarray(frame_HW3, format="rgb24")
        frame.time_base, frame.pts = Fraction(1, 1000), self.count
        self.count += 1
        self.graph.vpush(frame)
        painted = self.graph.vpull()
        _center(painted, frame_HW3)
        return painted


def _center(painted: av.VideoFrame, frame_HW3: Frame) -> None:
    """Make each colour of a palette the mean of the pixels that are shown in it, which keeps the frame's mean."""
    indices, palette = painted.planes
    shown_HW = np.frombuffer(indices, np.uint8).reshape(indices.height, -1)[:, : painted.width]
    count = np.bincount(shown_HW.ravel(), minlength=256)
    bgra = np.frombuffer(palette, np.uint8).reshape(256, 4).copy()
    for channel in range(3):
        sums = np.bincount(shown_HW.ravel(), frame_HW3[..., channel].ravel(), minlength=256)
        bgra[count > 0, 2 - channel] = np.rint(sums[count > 0] / count[count > 0])
    palette.update(bgra.tobytes())
