"""A run of the table from the first cell to the page: what ``longtake prove run`` does."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from ...core.errors import LongtakeError
from ...core.files.whole import make_folder
from ...core.model import load_model
from .figures import draw_curves, draw_shares
from .machine import commit, libraries, machine
from .methods import FAMILIES, FAST, LINEAR_MOTION, PLAIN, SPEEDS
from .report import markdown, pick
from .results import Row, read_results, read_row, write_results, write_row
from .stages import asked
from .table import Cell, measures_version, run_cells
from .techniques import TECHNIQUE_FAMILIES, TECHNIQUES

SHOWN = ("valid", "error", "speed", "valid, own speed", "unevenness", "motion 4", "retreat", "identity")


def run_table(
    out: Path,
    workers: int,
    finished: Callable[[int, int, str], None],
    *,
    model: str,
    stage: str,
    frames: Sequence[int],
    names: Sequence[str],
    seeds: int | None,
    steps: int,
) -> Path:
    """Work out the cells asked for; write ``results.json``, the tables as ``table.md``, and pictures of them.

    What ``results.json`` held before stays in it, so that a table can be made in parts, and on several machines.

    Args:
        out: folder; finished cells are kept in its folder ``cells``.
        workers: processes.
        finished: is told how many cells are finished, of how many, and which it is.
        model: name or folder.
        stage: "screen", "final", "fast", "speed", "techniques" or "all".
        frames: lengths; none: those of the stage.
        names: of methods; none: those of the stage.
        seeds: clips of each world; none: those of the stage.
        steps: of the denoising.

    Returns:
        The page with the tables.

    Raises:
        LongtakeError: there is no method of such a name, or not in this stage, or the folder holds another
            model's results.

    """
    weights = fingerprint(model)
    every = [
        Cell(method, length, seeds or clips, steps, model, weights)
        for method, length, clips in asked(stage, names, frames)
    ]
    cells = list({cell.file: cell for cell in every}.values())  # stages share methods
    done: list[Cell] = []

    def tell(cell: Cell) -> None:
        done.append(cell)
        finished(len(done), len(cells), f"{cell.method.name}, {cell.frames} frames, {cell.seeds} of each world")

    before, made = _results_so_far(out, weights)
    here = f"commit {commit()}, {machine()}, {libraries()}"  # now, not when the work is done
    run_cells(cells, out / "cells", workers, tell)
    rows = before | {cell.file: read_row(out / "cells" / cell.file) for cell in cells}
    new = [here] if len(rows) > len(before) else []
    about = {"model": model, "weights": weights, "made": list(dict.fromkeys([*made, *new]))}
    write_results(list(rows.values()), about, out / "results.json")
    return _show(list(rows.values()), out)


def _results_so_far(out: Path, weights: str) -> tuple[dict[str, Row], list[str]]:
    """Return the rows of earlier runs by cell, and how they were made; their cells are finished here too.

    Rows of other measures than those of today are left out: they are measured again from their videos, or made anew.

    Raises:
        LongtakeError: they are another model's.

    """
    path = out / "results.json"
    if not path.exists():
        return {}, []
    rows, about = read_results(path)
    if about.get("weights") != weights:
        raise LongtakeError(f"{path} holds results of other weights than this model's; choose another folder")
    make_folder(out / "cells")
    rows = [row for row in rows if row.cell.endswith(f"-{measures_version()}.json")]
    for row in rows:
        path = out / "cells" / Path(row.cell).name
        if not path.exists():
            write_row(row, path)
    return {row.cell: row for row in rows}, list(about.get("made", []))


def _show(rows: Sequence[Row], out: Path) -> Path:
    """Draw and tabulate the rows; return the page."""
    draw_curves(rows, out / "curves.png")
    draw_shares(rows, out / "shares.png", FAMILIES | {"fast clips": FAST, "faster": SPEEDS})
    known = {each.name for each in TECHNIQUES}
    lengths = {row.frames for row in rows if row.method in known}
    if lengths:
        families = {"for comparison": (PLAIN, LINEAR_MOTION), **TECHNIQUE_FAMILIES}
        draw_shares([row for row in rows if row.frames in lengths], out / "techniques.png", families)
    parts = []
    for length in sorted({row.frames for row in rows}):
        shown = list(pick(rows, length).values())
        parts.append(f"## {length} frames\n\n{markdown(shown, SHOWN)}\n")
    page = out / "table.md"
    page.write_text("\n".join(parts), encoding="utf-8")
    return page


def fingerprint(model: str) -> str:
    """Return what tells the weights of this model from all others."""
    digest, pipeline = hashlib.sha256(), load_model(model, device="cpu").pipeline
    for part in (pipeline.unet, pipeline.vae, pipeline.image_encoder):
        for weights in part.state_dict().values():
            digest.update(weights.numpy().tobytes())
    return digest.hexdigest()[:16]
