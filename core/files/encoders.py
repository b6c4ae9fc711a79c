"""What turns frames into files: FFmpeg's codecs through imageio, folders of PNGs, arrays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import imageio.v3 as iio
import numpy as np

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
    """How a video file is encoded; names and options are FFmpeg's."""

    name: str
    pixel_format: str
    options: dict[str, str]
    container: dict[str, str]


CODECS = {
    # With its macroblock tree, the x264 of PyAV 18.1 gave other pictures from run to run at some sizes.
    ".mp4": Codec(
        "libx264",
        "yuv420p",
        {"crf": "16", "preset": "slow", "x264-params": "no-mbtree=1"},
        {"movflags": "faststart"},
    ),
    ".webm": Codec("libvpx-vp9", "yuv420p", {"crf": "20", "b": "0"}, {}),
    ".webp": Codec("libwebp_anim", "yuv420p", {"quality": "90"}, {"loop": "0"}),
    ".gif": Codec("gif", "pal8", {}, {}),
}


class VideoFile:
    """A video file through imageio's PyAV plugin.

    Colour is stored for 2 x 2 pixels, so a last odd row or column is written twice.
    """

    def __init__(self, path: Path, fps: float, frames: int) -> None:
        self.codec = CODECS[path.suffix.lower()]
        self.fps = fps
        self.sink = Sink(path)
        imopen: Any = iio.imopen  # its overloads do not know the plugin's own arguments
        self.file = imopen(self.sink, "w", plugin="pyav", extension=path.suffix.lower(), options=self.codec.container)
        self.open = False

    def write(self, frame: np.ndarray) -> None:
        """Append one frame, (H, W, 3) in uint8."""
        if self.codec.pixel_format == "yuv420p":
            frame = np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge")
        if not self.open:
            self._begin(*frame.shape[:2])
        self.file.write_frame(np.ascontiguousarray(frame))
        self.sink.check()

    def _begin(self, height: int, width: int) -> None:
        self.file.init_video_stream(self.codec.name, fps=self.fps, pixel_format=self.codec.pixel_format)
        # imageio has no argument for the encoder's options, nor for the size that a filter has to know beforehand.
        stream: Any = self.file._video_stream
        stream.options = self.codec.options
        stream.width, stream.height = width, height
        if self.codec.name == "gif":
            stream.pix_fmt = "rgb24"
            self.file.set_video_filter(filter_graph=_own_palette())
            stream.pix_fmt = self.codec.pixel_format
        self.open = True

    def close(self) -> None:
        """Finish the file."""
        try:
            self.file.close()
        finally:
            self.sink.close()
            self.sink.check()


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


def _own_palette() -> tuple[dict[str, tuple[str, str]], list[tuple[str, str, int, int]]]:
    """Return FFmpeg's filter that gives each frame of a gif its own 256 colours, without waiting for later frames."""
    nodes = {
        "copies": ("split", ""),
        "palette": ("palettegen", "stats_mode=single"),
        "paint": ("paletteuse", "new=1"),
    }
    edges = [
        ("video_in", "copies", 0, 0),
        ("copies", "palette", 0, 0),
        ("copies", "paint", 1, 0),
        ("palette", "paint", 0, 1),
        ("paint", "video_out", 0, 0),
    ]
    return nodes, edges


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


def encoder_for(ending: str, path: Path, fps: float, frames: int) -> Encoder:
    """Return the encoder for an ending such as ``.mp4``, none for PNGs; it begins the file or folder at once."""
    others: dict[str, Callable[[Path, float, int], Encoder]] = {"": PngFolder, ".npy": NpyFile}
    return others.get(ending.lower(), VideoFile)(path, fps, frames)
