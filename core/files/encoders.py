"""What turns frames into files: FFmpeg's codecs, folders of PNGs, arrays."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import closing, nullcontext
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import av
import imageio.v3 as iio
import numpy as np

from .colour import BT601, LIMITED, Frame, PaletteWriter, Tags, YuvWriter, tags_of_size
from .sound import Track

Answer = TypeVar("Answer")


class Encoder(Protocol):
    """Takes frames one after another."""

    def write(self, frame: np.ndarray) -> None:
        """Append one frame, (H, W, 3) in uint8."""
        ...

    def close(self) -> None:
        """Finish the file."""
        ...


class Codec(NamedTuple):
    """How a video file is encoded; names and options are FFmpeg's.

    Attributes:
        name: of the video codec.
        pixel_format: that the codec takes.
        options: of the codec.
        container: options of the container.
        tags: of the colours; None for those of the size.
        siting: where chroma samples lie.

    """

    name: str
    pixel_format: str
    options: dict[str, str]
    container: dict[str, str]
    tags: Tags | None = None
    siting: str = "left"


CODECS = {
    # In ten rounds of writing and reading, the mean of each colour stays within 0.1 (WebP: 0.15). Codecs save on chroma
    # first, so that x264 gets an offset; frames between two others would be rounded up, so that there are none.
    # With its macroblock tree, the x264 of PyAV 18.1 gave other pictures from run to run at some sizes.
    ".mp4": Codec(
        "libx264",
        "yuv420p",
        {"crf": "8", "preset": "slow", "x264-params": "no-mbtree=1:bframes=0:chroma-qp-offset=-12"},
        {"movflags": "faststart"},
    ),
    ".webm": Codec("libvpx-vp9", "yuv420p", {"crf": "8", "b": "0", "sharpness": "7"}, {}),
    # Not libwebp_anim, which converts to RGB and back by its own filters.
    ".webp": Codec("libwebp", "yuv420p", {"quality": "94"}, {"loop": "0"}, BT601, "center"),
    ".gif": Codec("gif", "pal8", {}, {}),
}


class VideoFile:
    """A video file through PyAV.

    Colour is stored for 2 x 2 pixels, so a last odd row or column is written twice.
    """

    def __init__(self, path: Path, fps: float, frames: int, sound: Path | None = None) -> None:
        ending = path.suffix.lower()
        self.codec = CODECS[ending]
        self.rate = Fraction(fps).limit_denominator(1001)
        self.frames = frames
        self.sink = Sink(path)
        self.container = av.open(self.sink, "w", format=ending[1:], options=self.codec.container)
        self.sound = sound
        self.track: Track | None = None
        self.stream: Any = None
        self.count = 0

    def write(self, frame: np.ndarray) -> None:
        """Append one frame, (H, W, 3) in uint8."""
        if self.codec.pixel_format == "yuv420p":
            frame = np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge")
        if self.stream is None:
            self._begin(*frame.shape[:2])
        self._encode(self.convert(np.ascontiguousarray(frame)))
        self.sink.check()

    def _begin(self, height: int, width: int) -> None:
        codec = self.codec
        self.stream = self.container.add_stream(codec.name, rate=self.rate, options=dict(codec.options))
        self.stream.width, self.stream.height, self.stream.pix_fmt = width, height, codec.pixel_format
        if codec.pixel_format == "pal8":
            self.convert: Callable[[Frame], av.VideoFrame] = PaletteWriter(height, width)
        else:
            tags = codec.tags or tags_of_size(height, width)
            self.convert = YuvWriter(tags, codec.siting)
            context = self.stream.codec_context
            context.colorspace, context.color_range = tags.matrix, LIMITED
            context.color_primaries, context.color_trc = tags.primaries, tags.transfer
        if self.sound:
            self.track = Track(self.container, self.sound, float(self.frames / self.rate))

    def _encode(self, frame: av.VideoFrame) -> None:
        frame.time_base, frame.pts = 1 / self.rate, self.count
        self.count += 1
        self.container.mux(self.stream.encode(frame))
        if self.track:
            self.container.mux(self.track.until(float(self.count / self.rate)))

    def close(self) -> None:
        """Finish the file."""
        try:
            self._finish()
        finally:
            self.sink.close()
            self.sink.check()

    def _finish(self) -> None:
        with closing(self.container), closing(self.track) if self.track else nullcontext():
            if self.stream is not None:
                self.container.mux(self.stream.encode())
            if self.track:
                self.container.mux(self.track.until(math.inf))


class Sink:
    """A file for FFmpeg that keeps whatever is first raised in a callback, for :meth:`check` to raise it again.

    An exception that leaves a callback is dropped by FFmpeg's bindings, with or without a traceback on the screen.
    """

    def __init__(self, path: Path) -> None:
        self.file = path.open("w+b")
        # FFmpeg opens the file again by this name to move an mp4's index to its front; without the prefix, a colon in a
        # file's name would be taken for a protocol.
        self.name = f"file:{path.absolute()}"
        self.error: BaseException | None = None

    def write(self, data: bytes) -> int:
        """Write; after an error nothing is written any more, and FFmpeg is left in the belief that all is well."""
        return self._kept(lambda: self.file.write(data), len(data))

    def seek(self, place: int, whence: int = 0) -> int:
        """Go to a place in the file."""
        return self._kept(lambda: self.file.seek(place, whence), place)

    def tell(self) -> int:
        """Return the place in the file."""
        return self._kept(self.file.tell, 0)

    def read(self, count: int = -1) -> bytes:
        """Read; imageio takes nothing for a file that cannot be read and closed."""
        return self._kept(lambda: self.file.read(count), b"")

    def close(self) -> None:
        """Close the file; what cannot be written at the last moment is kept like anything else."""
        try:
            self.file.close()
        except BaseException as error:
            self.error = self.error or error

    def check(self) -> None:
        """Raise the error that was kept."""
        if self.error is not None:
            raise self.error

    def _kept(self, function: Callable[[], Answer], otherwise: Answer) -> Answer:
        if self.error is None:
            try:
                return function()
            except BaseException as error:
                self.error = error
        return otherwise


class PngFolder:
    """A folder of numbered PNGs."""

    def __init__(self, path: Path, fps: float, frames: int) -> None:
        path.mkdir()
        self.path = path
        self.digits = max(5, len(str(frames - 1)))
        self.count = 0

    def write(self, frame: np.ndarray) -> None:
        """Append one frame, (H, W, 3) in uint8."""
        picture = iio.imwrite("<bytes>", frame, extension=".png")
        (self.path / f"frame_{self.count:0{self.digits}d}.png").write_bytes(picture)
        self.count += 1

    def close(self) -> None:
        """Nothing is left to do."""


class NpyFile:
    """One array (F, H, W, 3) in uint8, written frame by frame: mapped into memory, a full disk would be a crash."""

    def __init__(self, path: Path, fps: float, frames: int) -> None:
        self.file = path.open("wb")
        self.frames = frames

    def write(self, frame: np.ndarray) -> None:
        """Append one frame, (H, W, 3) in uint8."""
        if self.file.tell() == 0:
            header = {"descr": "|u1", "fortran_order": False, "shape": (self.frames, *frame.shape)}
            np.lib.format.write_array_header_1_0(self.file, header)
        self.file.write(frame.tobytes())

    def close(self) -> None:
        """Flush to disk."""
        self.file.close()


def encoder_for(ending: str, path: Path, fps: float, frames: int, sound: Path | None = None) -> Encoder:
    """Return the encoder for an ending such as ``.mp4``, none for PNGs; it begins the file or folder at once.

    ``sound`` is a video whose sound the file gets, see :func:`longtake.core.files.sound.sound_for`.
    """
    others: dict[str, Callable[[Path, float, int], Encoder]] = {"": PngFolder, ".npy": NpyFile}
    other = others.get(ending.lower())
    return other(path, fps, frames) if other else VideoFile(path, fps, frames, sound)
