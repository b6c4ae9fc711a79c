"""Files that appear under their final name only when they are whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import OutputError
from .claims import claimed, part_of


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, unless it is there.

    Raises:
        OutputError: the system refuses, or a file has that name.

    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make folder {path}: {error.strerror or error}") from None


@contextmanager
def whole_file(path: Path, what: str | None = None) -> Iterator[Path]:
    """Give a name to write to; it becomes ``path`` when the block ends well, and is removed when it does not.

    Args:
        path: the final name; what is there is replaced.
        what: what it is called when it cannot be written; by default the path.

    Raises:
        OutputError: the system refuses.

    """
    part = part_of(path)
    try:
        with claimed(path, wanted=False):
            try:
                yield part
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {what or path}: {error.strerror or error}") from None
