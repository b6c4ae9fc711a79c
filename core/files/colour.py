"""Colours of video files: RGB to YUV, and back by FFmpeg's scaler with matrix, range and chroma siting given.

Left alone, the scaler truncates (each reading darkens by one level), takes BT.601 for everything, and moves the chroma
by a quarter of a pixel where one side of a conversion has a siting and the other has none.

Shape suffixes: H, W = rows, columns, 3 = red, green, blue.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

import av
import av.filter
import numpy as np
from av.sidedata.sidedata import Type
from numpy.typing import NDArray

Frame = NDArray[np.uint8]

ACCURATE = "flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
# FFmpeg's numbers for matrices, and its scaler's names. 2 means that the file names none.
MATRICES = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020", 10: "bt2020"}
RGB, UNTAGGED = 0, 2
LIMITED, FULL = 1, 2
PQ, HLG = 16, 18
SRGB_TRANSFER, SRGB_PRIMARIES = 13, 1
WIDE = (9, 11, 12)  # primaries of BT.2020 and of both kinds of P3


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
    """Converts frames of one size to yuv420p in limited range.

    FFmpeg's scaler averages chroma by a filter that its own reading does not undo, so that colours run a little further
    at each round. Here the chroma is the one that comes closest to the frame once it is read (least squares), and a
    frame that was read from such a file gives the same numbers again.
    """

    def __init__(self, height: int, width: int, tags: Tags, siting: str) -> None:
        """Work out the filters.

        Args:
            height: rows; even.
            width: columns; even.
            tags: matrix to use, and the tags that frames get.
            siting: where chroma samples lie, ``left`` (MPEG) or ``center`` (WebP).

        """
        self.tags = tags
        self.rows, self.columns = chroma_filter(height, "center", siting), chroma_filter(width, siting, siting)

    def __call__(self, frame_HW3: Frame) -> av.VideoFrame:
        """Return a frame in yuv420p that carries its tags."""
        red, blue = self.tags.red, self.tags.blue
        r_HW, g_HW, b_HW = np.float32(1 / 255) * np.moveaxis(frame_HW3, -1, 0)
        luma_HW = red * r_HW + (1 - red - blue) * g_HW + blue * b_HW
        small = [self.rows @ (colour_HW - luma_HW) @ self.columns.T for colour_HW in (b_HW, r_HW)]
        planes = 16 + 219 * luma_HW, 128 + 112 / (1 - blue) * small[0], 128 + 112 / (1 - red) * small[1]
        frame = av.VideoFrame(frame_HW3.shape[1], frame_HW3.shape[0], "yuv420p")
        for plane, values in zip(frame.planes, planes, strict=True):
            padded = np.zeros((plane.height, plane.line_size), np.uint8)
            padded[:, : plane.width] = np.clip(np.rint(values), 0, 255)
            plane.update(padded)
        frame.colorspace, frame.color_range = self.tags.matrix, LIMITED
        frame.color_primaries, frame.color_trc = self.tags.primaries, self.tags.transfer
        return frame


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


class RgbReader:
    """Converts decoded frames as their tags say, turns them upright, and makes their pixels square."""

    def __init__(self, pixel_aspect: Fraction | None = None) -> None:
        """Remember the width of a pixel over its height; none or 0 means square."""
        self.pixel_aspect = pixel_aspect or Fraction(1)
        self.source = ""
        self.convert: Callable[[av.VideoFrame], av.VideoFrame]

    def __call__(self, frame: av.VideoFrame) -> Frame:
        """Return a frame, (H, W, 3).

        Raises:
            ValueError: the file names a matrix that the scaler does not know.

        """
        matrix, full = _matrix_of(frame), _is_full(frame)
        frame.colorspace, frame.color_range = matrix, FULL if full else LIMITED
        shown = _display_matrix(frame)
        if matrix != RGB and (is_high_dynamic_range(frame) or frame.color_primaries in WIDE):
            frame, matrix, full = _to_srgb(frame), RGB, True
        source = (
            f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}"
            f":colorspace={matrix}:range={frame.color_range}"
        )
        if source != self.source:  # the size or the tags may change in the middle of a file
            width = max(1, round(frame.width * self.pixel_aspect))
            scale = f"w={width}:h={frame.height}:in_range={'pc' if full else 'tv'}:out_range=pc:{ACCURATE}"
            if matrix != RGB:
                siting = "center" if frame.format.name.startswith("yuvj") else "left"
                scale += f":in_color_matrix={MATRICES[matrix]}:in_chroma_loc={siting}"
            self.convert, self.source = _graph(source, scale, "rgb24"), source
        pixels: Frame = self.convert(frame).to_ndarray()
        return upright(pixels, shown)


def upright(frame_HW3: Frame, display_matrix: NDArray[np.int32] | None) -> Frame:
    """Return a frame as it is to be shown: turned by a multiple of 90 degrees, mirrored, or both.

    Args:
        frame_HW3: as stored.
        display_matrix: (3, 3), as in MP4: column x, row y is shown at column a x + c y, row b x + d y.

    """
    if display_matrix is None:
        return frame_HW3
    (a, b), (c, d) = display_matrix[:2, :2]
    if abs(b) > abs(a):
        frame_HW3, a, d = frame_HW3.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(frame_HW3[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def is_high_dynamic_range(frame: av.VideoFrame) -> bool:
    """Return whether the numbers of a frame are for an HDR display (PQ or HLG)."""
    return frame.color_trc in (PQ, HLG)


def _matrix_of(frame: av.VideoFrame) -> int:
    if frame.format.is_rgb or frame.format.has_palette:
        return RGB
    if frame.colorspace in (UNTAGGED, RGB):
        return tags_of_size(frame.height, frame.width).matrix
    if frame.colorspace not in MATRICES:
        raise ValueError(f"its colour matrix is number {frame.colorspace} of FFmpeg's; known: {sorted(MATRICES)}")
    return int(frame.colorspace)


def _is_full(frame: av.VideoFrame) -> bool:
    form = frame.format
    if form.is_rgb or form.has_palette or form.name.startswith("yuvj"):
        return True
    if frame.color_range in (LIMITED, FULL):
        return bool(frame.color_range == FULL)
    return bool(form.name.startswith(("gray", "mono", "ya")))


def _to_srgb(frame: av.VideoFrame) -> av.VideoFrame:
    """Return a frame in sRGB; what is brighter than the reference white of HDR, 203 cd/m2, is cut off."""
    frame = frame.reformat(
        format="rgb24",
        src_colorspace=frame.colorspace,
        src_color_range=frame.color_range,
        dst_color_range=FULL,
        dst_color_trc=SRGB_TRANSFER,
        dst_color_primaries=SRGB_PRIMARIES,
        threads=1,
    )
    frame.colorspace, frame.color_range = RGB, FULL
    return frame


def _display_matrix(frame: av.VideoFrame) -> NDArray[np.int32] | None:
    data = frame.side_data.get(Type.DISPLAYMATRIX)
    return None if data is None else np.frombuffer(bytes(data), np.int32).reshape(3, 3)


def _graph(source: str, scale: str, pixels: str) -> Callable[[av.VideoFrame], av.VideoFrame]:
    """Return a function that converts a frame of a kind; the arguments are those of FFmpeg's filters."""
    graph = av.filter.Graph()
    graph.threads = 1  # a pool of threads would hinder a later fork
    nodes = [
        graph.add("buffer", f"{source}:time_base=1/1000:pixel_aspect=1/1"),
        graph.add("scale", scale),
        graph.add("format", f"pix_fmts={pixels}"),
        graph.add("buffersink"),
    ]
    graph.link_nodes(*nodes).configure()

    def convert(frame: Any) -> Any:
        graph.vpush(frame)
        return graph.vpull()

    return convert
