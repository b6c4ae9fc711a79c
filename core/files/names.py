"""Whether a folder takes a file of some name, found before anything is computed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from ..errors import OutputError, printable
from .claims import claim_of, part_of


def check_place(path: Path, beside: Iterable[Path] = (), why: str = "it grows under a longer, hidden name") -> None:
    """See that the folder of a file exists, and allows its name and those that are made from it.

    Args:
        path: of the file.
        beside: files that are written beside it, such as its record.
        why: less is allowed than the system says.

    Raises:
        OutputError: there is no such folder, or a name is too long.

    """
    try:
        mode = path.parent.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise OutputError(f"folder {path.parent} does not exist; make it first") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise OutputError(f"cannot write {printable(path)}: {why}") from None
    if not stat.S_ISDIR(mode):
        raise OutputError(f"cannot write {path}: {path.parent} is a file, not a folder")
    longest = os.pathconf(path.parent, "PC_NAME_MAX") if hasattr(os, "pathconf") else 255
    names = [name for each in (path, *beside) for name in (part_of(each).name, claim_of(each).name)]
    size, over = len(os.fsencode(path.name)), max(len(os.fsencode(name)) for name in names) - longest
    if over > 0:
        raise OutputError(
            f"cannot write {path.name[:20]}…: its name is {size} bytes long; this folder allows {size - over}, because"
            f" {why}"
        )
