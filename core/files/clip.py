"""Video files that FFmpeg reads: in true colours, upright, with square pixels.

Left alone, FFmpeg's scaler truncates (each reading darkens by one level), takes BT.601 for everything, and moves the
chroma by a quarter of a pixel where one side of a conversion has a siting and the other has none.

Shape suffixes: F = frames, H, W = rows, columns, 3 = red, green, blue.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.filter
import numpy as np
from av.sidedata.sidedata import Type
from numpy.typing import NDArray

from .colour import LIMITED, Frame, tags_of_size

logger = logging.getLogger("longtake")

TEXTS = ("ansi", "bintext", "idf", "xbin")  # what FFmpeg makes of text files: pictures of their letters
ACCURATE = "flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
# FFmpeg's numbers for matrices, and its scaler's names. 2 means that the file names none.
MATRICES = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020", 10: "bt2020"}
RGB, UNTAGGED = 0, 2
FULL = 2  # range from 0 to 255
PQ, HLG = 16, 18
SRGB_TRANSFER, SRGB_PRIMARIES = 13, 1
WIDE = (9, 11, 12)  # primaries of BT.2020 and of both kinds of P3


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
