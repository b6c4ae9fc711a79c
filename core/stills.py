"""Videos that are no video files: folders of pictures, animated pictures, and arrays.

Shape suffixes: F = frames, H, W = rows, columns, 3 = red, green, blue.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageSequence, UnidentifiedImageError

from .arrays import map_array
from .budget.devices import amount, free_memory
from .errors import LongtakeError, printable
from .image import read_image, too_large, upright_rgb
from .readable import fault_of

Frames = NDArray[np.uint8]


def read_folder(path: Path) -> Frames:
    """Return the PNGs of a folder in the order of the numbers in their names, as (F, H, W, 3) in uint8.

    Raises:
        LongtakeError: there are none, one cannot be read, or they differ in size.
        OSError: the folder cannot be read.

    """
    files = [path / name for name in sorted(os.listdir(path), key=_by_number) if name.endswith(".png")]
    if not files:
        others = sorted({name.suffix for name in path.iterdir() if name.suffix})
        raise LongtakeError(f"folder {path} holds no PNGs{f', but {printable(others)}' if others else ''}")
    for file in files:
        if fault := fault_of(file):
            raise LongtakeError(f"frame {file} {fault}")
    first = read_image(files[0])
    _check_room(path, len(files), first.size)
    frames_FHW3 = np.empty((len(files), first.height, first.width, 3), np.uint8)
    for frame_HW3, file in zip(frames_FHW3, files, strict=True):
        picture = read_image(file)
        if picture.size != first.size:
            raise LongtakeError(
                f"folder {path} holds pictures of different sizes: {files[0].name} has {_size(first)} pixels,"
                f" {file.name} {_size(picture)}; bring them to one size first"
            )
        frame_HW3[:] = np.asarray(picture)
    return frames_FHW3


def read_animation(path: Path) -> Frames:
    """Return the frames of a GIF or an animated WebP as they are shown, on white, as (F, H, W, 3) in uint8.

    Raises:
        LongtakeError: it takes more memory than is free.
        Exception: whatever Pillow raises on a file that is damaged.

    """
    try:
        with Image.open(path) as animation:
            _check_room(path, getattr(animation, "n_frames", 1), animation.size)
            return np.stack([np.asarray(upright_rgb(frame)) for frame in ImageSequence.Iterator(animation)])
    except Image.DecompressionBombError:
        raise LongtakeError(f"video {path} {too_large()}") from None
    except UnidentifiedImageError:
        raise LongtakeError(f"video {path} cannot be read: it is no {path.suffix[1:]}") from None


def read_array(path: Path) -> Frames:
    """Return the array of a ``.npy`` file, which its header describes truly.

    Raises:
        LongtakeError: it is damaged, or holds several arrays, Python objects, or more than there is memory for.

    """
    try:
        array = map_array(path, "the frames")
    except ValueError as error:
        raise LongtakeError(f"video {path} {error}") from None
    if array.ndim == 4:
        _check_room(path, array.shape[0], (array.shape[2], array.shape[1]))
    return np.array(array, order="C") if array.dtype == np.uint8 else array


def _check_room(path: Path, frames: int, size: tuple[int, int]) -> None:
    needed, free = frames * size[0] * size[1] * 3, free_memory(torch.device("cpu"))
    if needed > free:
        raise LongtakeError(
            f"video {path} has {frames} frames of {size[0]} x {size[1]} pixels, which take {amount(needed)} of memory;"
            f" {amount(free)} are free. Make it shorter or smaller first"
        )


def _by_number(name: str) -> list[tuple[int, str]]:
    """Return what sorts names by the numbers in them, so that 10.png comes after 9.png."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _size(picture: Image.Image) -> str:
    return f"{picture.width} x {picture.height}"
