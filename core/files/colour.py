"""Colours of video files: RGB to YUV and back by FFmpeg's scaler, with matrix, range and chroma siting given.

Left alone, the scaler truncates (each conversion darkens by one level), takes BT.601 for everything, and moves the
chroma by a quarter of a pixel whenever one side of a conversion has a siting and the other has none.

Shape suffixes: H, W = rows, columns, 3 = red, green, blue.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
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
    """Colour tags of a file, in FFmpeg's numbers, and the scaler's name of the matrix."""

    matrix_name: str
    matrix: int
    primaries: int
    transfer: int


BT709 = Tags("bt709", 1, 1, 1)
BT601 = Tags("bt601", 6, 1, 1)  # WebP has no tags; its matrix is that of BT.601, its primaries are those of sRGB


class YuvWriter:
    """Converts frames of one size to yuv420p in limited range."""

    def __init__(self, height: int, width: int, tags: Tags, siting: str) -> None:
        """Build the conversion.

        Args:
            height: rows; even.
            width: columns; even.
            tags: matrix to use, and the tags that frames get.
            siting: where chroma samples lie, ``left`` (MPEG) or ``center`` (JPEG, WebP).

        """
        self.tags = tags
        self.convert = _graph(
            f"video_size={width}x{height}:pix_fmt=rgb24:colorspace=gbr:range=pc",
            f"out_color_matrix={tags.matrix_name}:out_range=tv:out_chroma_loc={siting}:{ACCURATE}",
            "yuv420p",
        )

    def __call__(self, frame_HW3: Frame) -> av.VideoFrame:
        """Return a frame in yuv420p that carries its tags."""
        frame = av.VideoFrame.from_ndarray(frame_HW3, format="rgb24")
        frame.colorspace, frame.color_range = RGB, FULL
        frame = self.convert(frame)
        frame.colorspace, frame.color_range = self.tags.matrix, LIMITED
        frame.color_primaries, frame.color_trc = self.tags.primaries, self.tags.transfer
        return frame


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
        return self.graph.vpull()


class RgbReader:
    """Converts decoded frames as their tags say, turns them upright, and makes their pixels square."""

    def __init__(self, pixel_aspect: Fraction | None = None) -> None:
        """Remember the width of a pixel over its height; none or 0 means square."""
        self.pixel_aspect = pixel_aspect or Fraction(1)
        self.source = ""
        self.convert: Callable[[av.VideoFrame], av.VideoFrame] = _graph

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
            named = f"in_color_matrix={MATRICES[matrix]}:" if matrix != RGB else ""
            scale = f"w={width}:h={frame.height}:{named}in_range={'pc' if full else 'tv'}:out_range=pc:{ACCURATE}"
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
    if frame.colorspace in (UNTAGGED, RGB):  # by convention high definition is BT.709, anything smaller BT.601
        return BT709.matrix if frame.height >= 720 or frame.width >= 1280 else BT601.matrix
    if frame.colorspace not in MATRICES:
        raise ValueError(f"its colour matrix is number {frame.colorspace} of FFmpeg's; known: {sorted(MATRICES)}")
    return frame.colorspace


def _is_full(frame: av.VideoFrame) -> bool:
    name = frame.format.name
    if frame.color_range in (LIMITED, FULL) and not frame.format.is_rgb:
        return frame.color_range == FULL and not frame.format.has_palette or name.startswith("yuvj")
    return frame.format.is_rgb or frame.format.has_palette or name.startswith(("yuvj", "gray", "mono", "ya"))


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
