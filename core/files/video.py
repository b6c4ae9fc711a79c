"""Video files under their final name only when whole, and what can be known of them before any computing."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from ..errors import OutputError
from .encoders import CODECS, Encoder, encoder_for
from .whole import part_of

ENDINGS = (*CODECS, ".npy")


def sidecar_path(output: Path) -> Path:
    """Return where the record of a run lies: beside its output."""
    return output.with_name(output.name + ".json")


def check_output(output: Path, *, overwrite: bool, sources: Iterable[str | None] = ()) -> None:
    """Find out before any computing whether an output can be written, and takes the place of nothing it is made from.

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
    for source in sources:
        if source is not None and os.path.realpath(source) == os.path.realpath(output):
            raise OutputError(f"{output} is what the video is made from; give the output another name")
    for path in (output, sidecar_path(output)):
        if path.exists() and not overwrite:
            raise OutputError(f"{path} exists; say --overwrite (overwrite=True) to replace it")
    if output.is_dir() and (output.suffix or any(not _is_frame(file) for file in output.iterdir())):
        raise OutputError(f"{output} is a folder that holds other things than frames; it is not replaced")
    if output.is_file() and not output.suffix:
        raise OutputError(f"{output} is a file and cannot become a folder of PNGs; give an ending, such as .mp4")
    probe = part_of(output)
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(f"cannot write in folder {output.parent}: {error.strerror}") from None


def _is_frame(file: Path) -> bool:
    return re.fullmatch(r"frame_\d+\.png", file.name) is not None


class VideoWriter:
    """What :func:`open_video` gives: it takes frames, and says of which file it is when one cannot be written."""

    def __init__(self, encoder: Encoder, output: Path, enlarge: int) -> None:
        self._encoder = encoder
        self._output = output
        self._enlarge = enlarge

    def write(self, frame: np.ndarray) -> None:
        """Append one frame, (H, W, 3) in uint8.

        Raises:
            OutputError: no space is left, or the system refuses otherwise.

        """
        with _blame(self._output):
            self._encoder.write(frame.repeat(self._enlarge, axis=0).repeat(self._enlarge, axis=1))


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
        OutputError: no space is left, or the system refuses otherwise.

    """
    part = part_of(output)
    try:
        with _blame(output):
            encoder = encoder_for(output.suffix, part, fps, frames, sound)
        try:
            yield VideoWriter(encoder, output, enlarge)
        except BaseException:
            with suppress(Exception):  # the first error is the one that tells
                encoder.close()
            raise
        with _blame(output):
            encoder.close()
            _into_place(part, output)
    finally:
        _remove(part)


@contextmanager
def _blame(output: Path) -> Iterator[None]:
    """Turn what the system says into a sentence about the output."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {output}: {error.strerror or error}") from None


def _into_place(part: Path, output: Path) -> None:
    if output.is_dir():
        shutil.rmtree(output)
    part.replace(output)


def _remove(part: Path) -> None:
    if part.is_dir():
        shutil.rmtree(part, ignore_errors=True)
    else:
        part.unlink(missing_ok=True)
