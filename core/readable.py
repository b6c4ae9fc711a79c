"""What stands in the way of reading a file, found before it is opened: a pipe would be waited for without end."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path


class OfFile(tuple[float, ...]):
    """Numbers that were read from a file, which they know, so that nothing is written in its place."""

    path: Path | None = None

    @classmethod
    def at(cls, numbers: Iterable[float], path: Path | None) -> OfFile:
        """Return numbers that were read from a path."""
        made = cls(numbers)
        made.path = path
        return made


def fault_of(path: Path, *, folder: bool = False) -> str | None:
    """Return why a path cannot be read, as the end of a sentence that begins with its name, or None.

    Args:
        path: of a file; links are followed.
        folder: whether a folder will do as well.

    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "does not exist: it is a link to nothing" if path.is_symlink() else "does not exist"
    except (OSError, ValueError) as error:  # links in a ring, a name that is too long, a null character
        return f"cannot be read: {getattr(error, 'strerror', None) or error}"
    if stat.S_ISDIR(mode):
        return None if folder else "cannot be read: it is a folder"
    if not stat.S_ISREG(mode):
        return "cannot be read: it is a pipe, a socket or a device; save what comes out of it as a file"
    try:
        os.close(os.open(path, os.O_RDONLY))
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None
