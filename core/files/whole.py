"""Files that appear under their final name only when they are whole."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import OutputError
from .claims import claimed, part_of
from .names import check_place
from .sources import Named, check_apart


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, unless it is there.

    Raises:
        OutputError: the system refuses, or a file has that name.

    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make folder {path}: {error.strerror or error}") from None


def check_file(path: Path, read: Iterable[Named] = ()) -> None:
    """Find out before any work whether a file can be written.

    Args:
        path: of the file; what is there is replaced.
        read: what it must not take the place of.

    Raises:
        OutputError: it is not a file name, its folder is not there, or it would take the place of something read.

    """
    if path.name in ("", "..") or os.path.isdir(path):
        raise OutputError(f"output '{path}' is not a file name, but that of a folder; give the file a name")
    check_place(path)
    _check_kind(path)
    check_apart([Named("output", path)], read)


def _check_kind(path: Path) -> None:
    if path.exists() and not path.is_file():
        raise OutputError(f"cannot write {path}: it is a folder, a device or a pipe, which is not replaced")


@contextmanager
def whole_file(path: Path, what: str | None = None) -> Iterator[Path]:
    """Give a name to write to; it becomes ``path`` when the block ends well, and is removed when it does not.

    Args:
        path: the final name; what is there is replaced.
        what: what it is called when it cannot be written; by default the path.

    Raises:
        OutputError: the system refuses.

    """
    try:
        _check_kind(path)
        part = part_of(path)
        with claimed(path, wanted=False):
            try:
                yield part
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {what or path}: {error.strerror or error}") from None
