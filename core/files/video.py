"""Video files under their final name only when whole, and what can be known of them before any computing."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import numpy as np
from av.error import FFmpegError

from ..errors import OutputError
from .claims import claimed, older_of, part_of, remove
from .encoders import CODECS, Encoder, encoder_for
from .names import check_place

Answer = TypeVar("Answer")

ENDINGS = (*CODECS, ".npy")


def sidecar_path(output: Path) -> Path:
    """Return where the record of a run lies: beside its output."""
    return output.with_name(output.name + ".json")


def check_name(output: Path) -> None:
    """Find out whether an output has a name that a file or folder of a known format can have.

    Raises:
        OutputError: it has none.

    """
    if output.name in ("", "..") or output.name.lower() in ENDINGS:
        raise OutputError(f"output '{output}' is not a file name; give one such as out.mp4, or that of a new folder")
    try:
        os.path.abspath(output).encode("utf-8")
    except UnicodeEncodeError:
        shown = os.fsencode(output).decode("utf-8", "backslashreplace")
        raise OutputError(
            f"output {shown}: the name, or that of a folder above it, is not in UTF-8; rename it"
        ) from None
    if output.suffix.lower() not in (*ENDINGS, ""):
        raise OutputError(
            f"output {output} has an ending that is not known; known: {', '.join(ENDINGS)}, "
            f"or no ending for a folder of PNGs"
        )
    check_place(output, [sidecar_path(output)], "the record adds an ending")


def check_output(output: Path, *, overwrite: bool) -> None:
    """Find out before any computing whether an output can be written.

    Raises:
        OutputError: unknown ending, no such folder, no right to write, or something is there and may not be replaced.

    """
    check_name(output)
    for path in (output, sidecar_path(output)):
        if os.path.lexists(path) and not overwrite:
            raise OutputError(f"{path} exists; say --overwrite (overwrite=True) to replace it")
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise OutputError(f"{path} is a device or a pipe and is not replaced; give the output another name")
    if sidecar_path(output).is_dir():
        raise OutputError(f"{sidecar_path(output)} is a folder, and the record of {output} would have its name")
    if output.is_dir():
        _check_folder(output)
    elif output.is_symlink() and not output.exists() and not output.suffix:
        raise OutputError(f"{output} is a link that leads nowhere, which no folder can replace; remove the link")
    if output.is_file() and not output.suffix:
        raise OutputError(f"{output} is a file and cannot become a folder of PNGs; give an ending, such as .mp4")
    for probe in (part_of(output), part_of(sidecar_path(output))):
        try:
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise OutputError(f"cannot write in folder {output.parent}: {error.strerror}") from None


def _check_folder(output: Path) -> None:
    if output.is_symlink():
        raise OutputError(f"{output} is a link to the folder {os.path.realpath(output)}; name that, or remove the link")
    try:
        frames = all(re.fullmatch(r"frame_\d+\.png", file.name) and file.is_file() for file in output.iterdir())
    except OSError as error:
        raise OutputError(f"folder {output} cannot be read: {error.strerror}") from None
    if output.suffix or not frames:
        raise OutputError(f"{output} is a folder that holds other things than frames; it is not replaced")
    if not os.access(output, os.W_OK | os.X_OK):
        raise OutputError(f"{output} is a folder that may not be changed; it is not replaced")


class VideoWriter:
    """What :func:`open_video` gives: it takes frames, and says of which file it is when one cannot be written."""

    def __init__(self, write: Callable[[np.ndarray], None], enlarge: int) -> None:
        self._write = write
        self._enlarge = enlarge
        self._shape: tuple[int, ...] | None = None  # of the first frame, and so of all

    def write(self, frame: np.ndarray) -> None:
        """Append one frame, (H, W, 3) in uint8.

        Raises:
            OutputError: it is something else, or of another size than the first one; no space is left, or the system
                refuses otherwise.

        """
        fits = isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3
        if not fits or not frame.size:
            got = f"{frame.shape} in {frame.dtype}" if isinstance(frame, np.ndarray) else type(frame).__name__
            raise OutputError(f"a frame must be (H, W, 3) in uint8, got {got}")
        self._shape = self._shape or frame.shape
        if frame.shape != self._shape:
            raise OutputError(f"every frame must have the shape of the first one, {self._shape}, got {frame.shape}")
        self._write(frame.repeat(self._enlarge, axis=0).repeat(self._enlarge, axis=1))


@contextmanager
def open_video(
    output: Path, *, fps: float, frames: int, enlarge: int = 1, sound: Path | None = None
) -> Iterator[VideoWriter]:
    """Give a writer; what it wrote appears as ``output`` when the block ends well, and is removed when it does not.

    Args:
        output: its ending says the format, see ``ENDINGS``; none means a folder of PNGs.
        fps: frames per second of the file.
        frames: how many will be written.
        enlarge: write every pixel as a square of this size.
        sound: a video whose sound the file gets, cut or padded with silence; see
            :func:`longtake.core.files.sound.sound_for`.

    Raises:
        OutputError: another run is writing it, no space is left, or the system refuses otherwise.

    """
    part = part_of(output)
    with claimed(output), _own_thread(output) as call:
        try:
            remove(part)  # of a dead run of another machine with the same number
            encoder: Encoder = call(lambda: encoder_for(output.suffix, part, fps, frames, sound))
            try:
                yield VideoWriter(lambda frame: call(lambda: encoder.write(frame)), enlarge)
            except BaseException:
                with suppress(Exception):  # the first error is the one that tells
                    call(encoder.close)
                raise
            call(encoder.close)
            call(lambda: _into_place(part, output))
        finally:
            remove(part)


@contextmanager
def _own_thread(output: Path) -> Iterator[Callable[[Callable[[], Answer]], Answer]]:
    """Give a function that calls another in one thread, and turns what the system says into a sentence.

    Python raises KeyboardInterrupt in the main thread only. Raised in a callback of FFmpeg it would be lost, and the
    file would be cut short; in a thread of its own, FFmpeg is always interrupted between two calls.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="longtake-encoder") as thread:

        def call(function: Callable[[], Answer]) -> Answer:
            try:
                return thread.submit(function).result()
            except (OSError, FFmpegError) as error:
                raise OutputError(f"cannot write {output}: {error.strerror or error}") from None

        yield call


def _into_place(part: Path, output: Path) -> None:
    """Give a whole file or folder its final name; an older folder is there until the new one is."""
    older = older_of(part)
    if output.is_dir():
        output.replace(older)
    try:
        part.replace(output)
    except OSError:
        if older.exists():
            older.replace(output)
        raise
    remove(older)
