"""Video files by their ending, streamed frame by frame, under their final name only when whole."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import imageio.v3 as iio
import numpy as np

from .errors import OutputError


class Writer(Protocol):
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
    ".mp4": Codec("libx264", "yuv420p", {"crf": "16", "preset": "slow"}, {"movflags": "faststart"}),
    ".webm": Codec("libvpx-vp9", "yuv420p", {"crf": "20", "b": "0"}, {}),
    ".webp": Codec("libwebp_anim", "yuv420p", {"quality": "90"}, {"loop": "0"}),
    ".gif": Codec("gif", "pal8", {}, {}),
}
ENDINGS = (*CODECS, ".npy")


class VideoFile:
    """A video file through imageio's PyAV plugin.

    Colour is stored for 2 x 2 pixels, so a last odd row or column is written twice.
    """

    def __init__(self, path: Path, fps: float, frames: int) -> None:
        self.codec = CODECS[path.suffix.lower()]
        self.fps = fps
        imopen: Any = iio.imopen  # its overloads do not know the plugin's own arguments
        self.file = imopen(path, "w", plugin="pyav", options=self.codec.container)
        self.open = False

    def write(self, frame: np.ndarray) -> None:
        """Append one frame, (H, W, 3) in uint8."""
        if self.codec.pixel_format == "yuv420p":
            frame = np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge")
        if not self.open:
            self._begin(*frame.shape[:2])
        self.file.write_frame(np.ascontiguousarray(frame))

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
        self.file.close()


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
        iio.imwrite(self.path / f"frame_{self.count:0{self.digits}d}.png", frame)
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


def sidecar_path(output: Path) -> Path:
    """Return where the record of a run lies: beside its output."""
    return output.with_name(output.name + ".json")


def check_output(output: Path, *, overwrite: bool) -> None:
    """Find out before any computing whether an output can be written.

    Raises:
        OutputError: unknown ending, no such folder, no right to write, or something is there and may not be replaced.

    """
    if output.suffix.lower() not in (*ENDINGS, ""):
        raise OutputError(
            f"output {output} has an ending that is not known; known: {', '.join(ENDINGS)}, "
            f"or no ending for a folder of PNGs"
        )
    if not output.parent.is_dir():
        if output.parent.exists():
            raise OutputError(f"cannot write {output}: {output.parent} is a file, not a folder")
        raise OutputError(f"folder {output.parent} does not exist; make it first")
    for path in (output, sidecar_path(output)):
        if path.exists() and not overwrite:
            raise OutputError(f"{path} exists; say --overwrite (overwrite=True) to replace it")
    if output.is_dir() and (output.suffix or any(not _is_frame(file) for file in output.iterdir())):
        raise OutputError(f"{output} is a folder that holds other things than frames; it is not replaced")
    if output.is_file() and not output.suffix:
        raise OutputError(f"{output} is a file and cannot become a folder of PNGs; give an ending, such as .mp4")
    probe = _part(output)
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(f"cannot write in folder {output.parent}: {error.strerror}") from None


def _is_frame(file: Path) -> bool:
    return re.fullmatch(r"frame_\d+\.png", file.name) is not None


def _part(output: Path) -> Path:
    """Return the name under which an output grows: hidden, beside it, with the same ending."""
    return output.with_name(f".{output.stem}.part-{os.getpid()}{output.suffix}")


@contextmanager
def open_video(output: Path, *, fps: float, frames: int, enlarge: int = 1) -> Iterator[Writer]:
    """Give a writer; what it wrote appears as ``output`` when the block ends well, and is removed when it does not.

    Args:
        output: its ending says the format, see ``ENDINGS``; none means a folder of PNGs.
        fps: frames per second of the file.
        frames: how many will be written.
        enlarge: write every pixel as a square of this size.

    Raises:
        OutputError: no space is left, or the system refuses otherwise.

    """
    part = _part(output)
    kinds: dict[str, Callable[[Path, float, int], Writer]] = {"": PngFolder, ".npy": NpyFile}
    try:
        writer = Enlarged(kinds.get(output.suffix.lower(), VideoFile)(part, fps, frames), enlarge)
        try:
            yield writer
        finally:
            writer.close()
        _into_place(part, output)
    except OSError as error:
        raise OutputError(f"cannot write {output}: {error.strerror or error}") from None
    finally:
        _remove(part)


class Enlarged:
    """A writer that writes every pixel as a square."""

    def __init__(self, writer: Writer, factor: int) -> None:
        self.writer = writer
        self.factor = factor

    def write(self, frame: np.ndarray) -> None:
        """Append one frame, (H, W, 3) in uint8."""
        self.writer.write(frame.repeat(self.factor, axis=0).repeat(self.factor, axis=1))

    def close(self) -> None:
        """Finish the file."""
        self.writer.close()


def _into_place(part: Path, output: Path) -> None:
    if output.is_dir():
        shutil.rmtree(output)
    part.replace(output)


def _remove(part: Path) -> None:
    if part.is_dir():
        shutil.rmtree(part, ignore_errors=True)
    else:
        part.unlink(missing_ok=True)
