"""Do loops close? How far the last frame is from the first, beside how far neighbours are from each other.

Nothing here has a truth, as these worlds do not go in circles within a video. A still video closes perfectly, so how
much moves is told too.

Shape suffixes: F = frames, C = clips.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.files.whole import whole_file
from .cases import Case, make
from .clips import KINDS
from .machine import commit, libraries, machine
from .method import stock_with
from .report import bootstrap
from .worlds.canvas import Array

if TYPE_CHECKING:
    from ...core.manager import Plugins
    from ...core.model import Model


RING: dict[str, Any] = {
    "loop": True,
    "positional": "circular",
    "attention": {"name": "looped", "positions": "global"},
}
LOOPS = (
    stock_with("linear + motion", positional="linear", motion="compensated"),
    stock_with("loop", **RING),
    stock_with("loop, motion raised", **RING, motion="compensated"),
    stock_with("loop, frequencies rounded", **RING | {"positional": {"name": "circular", "way": "round"}}),
    stock_with("loop, full attention", **RING | {"attention": "full"}),
    stock_with("loop, each window from zero", **RING | {"attention": "looped"}),
    stock_with("loop, noise closed", **RING, noise={"name": "progressive", "closed": True}),
    stock_with("context looped, circular", positional="circular", context="looped"),
    stock_with("context looped, each from zero", context={"name": "looped", "positions": "local"}),
)


def closing(video_FHW3: Array) -> tuple[float, float]:
    """Return the difference of last and first frame over the usual one between neighbours, and the usual one."""
    usual = float(np.abs(np.diff(video_FHW3, axis=0)).mean())
    return float(np.abs(video_FHW3[-1] - video_FHW3[0]).mean()) / max(usual, 1e-9), usual


def measure_loops(
    model: Model, plugins: Plugins, frames: int, seeds: int, steps: int, out: Path, finished: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Measure every kind of loop on clips of all worlds, and write what came out to a JSON file.

    Args:
        model: the small one.
        plugins: with the strategies.
        frames: of each video.
        seeds: clips of each world.
        steps: of the denoising.
        out: the file.
        finished: is told each method that is done.

    """
    cases = [Case(kind, seed, frames) for seed in range(seeds) for kind in KINDS]
    rows: list[dict[str, Any]] = []
    for method in LOOPS:
        found_C2 = np.array([closing(make(method, case, steps, model, plugins).video_FHW3) for case in cases])
        gap, moved = (bootstrap(values_C) for values_C in found_C2.T)
        row = {"method": method.name, "frames": frames, "clips": len(cases)}
        rows.append(row | {"gap": [gap.mean, gap.low, gap.high], "moved": [moved.mean, moved.low, moved.high]})
        finished(method.name)
    made = f"commit {commit()}, {machine()}, {libraries()}"
    with whole_file(out, f"loops {out}") as part:
        part.write_text(json.dumps({"made": made, "steps": steps, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    return rows


def as_table(data: dict[str, Any]) -> str:
    """Return what a file of :func:`measure_loops` holds as a table."""
    lines = ["| method | last to first, over neighbours | neighbours, of 255 grey levels |", "|---|---|---|"]
    for row in data["rows"]:
        gap, moved = ("{:.2f} [{:.2f}, {:.2f}]".format(*np.multiply(row[key], times)) for key, times in COLUMNS.items())
        lines.append(f"| {row['method']} | {gap} | {moved} |")
    return "\n".join(lines)


COLUMNS = {"gap": 1, "moved": 255}
