"""Figures as picture files, which appear only when they are whole."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import OutputError
from .sources import Named
from .whole import check_file, whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def check_picture(path: Path, read: Iterable[Named] = ()) -> None:
    """See, before any work is done, that a figure can be written to a file of this name.

    Args:
        path: of the picture; what is there is replaced.
        read: what it must not take the place of.

    Raises:
        OutputError: its ending is none that can be drawn, or :func:`check_file` refuses it.

    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    known = FigureCanvasAgg.get_supported_filetypes()
    if path.suffix[1:].lower() not in known:
        raise OutputError(f"picture {path} must end in one of {', '.join(f'.{ending}' for ending in sorted(known))}")
    check_file(path, read)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure.

    Raises:
        OutputError: its ending is none that can be drawn, or the system refuses.

    """
    check_picture(path)
    with whole_file(path) as part:
        figure.savefig(part, dpi=100)
