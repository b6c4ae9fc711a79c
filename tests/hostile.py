"""Makers of files that nobody should be hurt by: damaged, hostile, or something other than their name says."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from longtake import read_facts
from longtake.core.errors import ModelError

ESCAPE = "\x1b]0;owned\x07\x1b[31m"
CLIP = np.random.default_rng(0).integers(0, 255, (5, 24, 32, 3), dtype=np.uint8)
PICTURE = Image.fromarray(CLIP[0])
Maker = Callable[[Path], object]


def png(width: int, height: int, colour: int = 2, depth: int = 8, data: bytes = b"", more: bytes = b"") -> bytes:
    """Return a PNG whose header says so, whatever its data are."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + more + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """Return a picture in a format."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def npy(header: str, data: bytes = b"") -> bytes:
    """Return a file of numpy's with any header."""
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def npz() -> bytes:
    """Return an archive of arrays."""
    buffer = io.BytesIO()
    np.savez(buffer, frames=CLIP)
    return buffer.getvalue()


def array(values: np.ndarray) -> bytes:
    """Return an array as numpy saves it, objects as pickles."""
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=True)
    return buffer.getvalue()


def gif(*frames: Image.Image) -> bytes:
    """Return an animation whose frames are shown for a tenth of a second."""
    return saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=100)


def zipped(*names: str) -> bytes:
    """Return an archive of empty files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"")
    return buffer.getvalue()


def weights(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    """Return a safetensors file with any header, as an object or as it is, which may claim another length."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict[str, object]:
    """Return what a header says of a tensor."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def folder_of(**files: bytes) -> Maker:
    """Return what makes a folder of files; an underscore stands for a dot."""

    def make(path: Path) -> None:
        path.mkdir()
        for name, content in files.items():
            (path / name.replace("_", ".")).write_bytes(content)

    return make


def listening(path: Path) -> None:
    """Make a socket."""
    before = os.getcwd()
    os.chdir(path.parent)  # the name of a socket is short
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(before)


def link_to(target: str) -> Maker:
    """Return what makes a link."""
    return lambda path: path.symlink_to(target)


def make(content: bytes | Maker, path: Path) -> Path:
    """Write a file, or let a maker make it."""
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)
    return path


def refusal(name: str) -> str:
    """Return what is said of a model, before anything of it is loaded."""
    with pytest.raises(ModelError) as refused:
        read_facts(name)
    assert not re.search(r"[^\n -~]", str(refused.value)), "only what can be printed"
    return str(refused.value)
