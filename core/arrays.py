"""Arrays of numpy's files, whose headers need not be true."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .readable import fault_of


def map_array(path: Path, what: str) -> NDArray[Any]:
    """Return the array of a ``.npy`` file, mapped rather than read, so that its shape is known without its numbers.

    Args:
        path: of the file.
        what: it should hold, for the message, such as ``"the frames"``.

    Raises:
        ValueError: it is damaged, or holds several arrays, or Python objects; the message is the end of a sentence.

    """
    if fault := fault_of(path):
        raise ValueError(fault)
    with path.open("rb") as file:
        beginning = file.read(6)
    if beginning.startswith(b"PK"):
        raise ValueError(f"is an archive of arrays (.npz); save the one that holds {what} by itself, as .npy")
    if beginning != b"\x93NUMPY":
        raise ValueError("cannot be read: it is no array of numpy's; save it with numpy.save")
    # Mapped: what a header claims beyond the end of the file is then found out at once.
    try:
        with np.errstate(over="ignore"):  # of the size that it claims
            array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy raises whatever it stumbles over in a header
        raise ValueError(
            "cannot be read: it holds Python objects, which may run any code when they are read; save numbers"
            if "Python objects" in str(error)
            else "cannot be read: its header does not fit its content; save it again, with numpy.save"
        ) from None
    return array
