"""What a format can hold: its frame rates and sizes, found by trying, and refused before anything is computed."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image

from ..errors import OutputError
from .names import check_place

if TYPE_CHECKING:
    from ..config import Config


class Limits(NamedTuple):
    """Of one format: lowest and highest frame rate, and the longest side in pixels."""

    slowest: float
    fastest: float
    side: int


# Rates are stored as fractions with denominators up to 1001. GIF counts in 1/100 s and has 16 bits for it, WebM and
# WebP count in 1/1000 s. Sides of WebP are even and below 2**14.
LIMITS = {
    ".mp4": Limits(0.001, 10_000, 16_384),
    ".webm": Limits(0.001, 1000, 65_536),
    ".webp": Limits(0.001, 1000, 16_382),
    ".gif": Limits(0.002, 100, 65_535),
}


def check_limits(output: Path, config: Config) -> None:
    """Find out whether the format of an output can hold the video of a resolved config.

    A folder of PNGs or an array holds any.

    Raises:
        OutputError: the frame rate or the size is out of its range.

    """
    assert config.width and config.height
    fps = config.output_fps or config.fps
    width, height = config.width * config.enlarge, config.height * config.enlarge
    ending = output.suffix.lower()
    limits = LIMITS.get(ending)
    if limits is None:
        return
    if not limits.slowest <= fps <= limits.fastest:
        raise OutputError(
            f"cannot write {output}: {ending} holds {limits.slowest:g} to {limits.fastest:,g} frames per second, got"
            f" {fps:g}; give another --output-fps, or another ending"
        )
    if max(width, height) > limits.side:
        raise OutputError(
            f"cannot write {output}: {ending} holds up to {limits.side} pixels a side, got {width}x{height}; make it"
            f" smaller (--width, --height, --enlarge), or give another ending"
        )


def check_preview(path: Path) -> None:
    """Find out whether a picture of a run can be written under a name.

    Raises:
        OutputError: its ending is none that Pillow writes colours to, its folder does not exist, or its name is too
            long.

    """
    if not _can_be_saved(path.suffix.lower()):
        raise OutputError(f"preview {path} needs a picture's ending, such as .png, .jpg or .webp")
    check_place(path)
    if path.exists() and not path.is_file():
        raise OutputError(f"preview {path} is a folder, a device or a pipe, which is not replaced")


def _can_be_saved(ending: str) -> bool:
    """Try it: some formats are only read, and some hold no colours."""
    try:
        with warnings.catch_warnings(action="ignore"):
            Image.new("RGB", (8, 8)).save(io.BytesIO(), Image.registered_extensions()[ending])
    except Exception:  # each format raises its own
        return False
    return True
