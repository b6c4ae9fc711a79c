"""What the table says: shares of valid videos and paired differences to plain SVD, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .measures import Score
from .table import Cell, Outcome, read_cell
from .worlds.canvas import Array

RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its bootstrap interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"


def bootstrap(values_C: Sequence[float] | Array, seed: int = 0) -> Estimate:
    """Return the mean of paired cases and the interval in which it lies with 95 % (percentile bootstrap, Efron 1979).

    Raises:
        ValueError: there are no values.

    """
    if not len(values_C):
        raise ValueError("no values to take the mean of")
    sample_C = np.asarray(values_C, dtype=np.float64)
    rng = np.random.default_rng(seed)
    means_R = sample_C[rng.integers(0, len(sample_C), (RESAMPLES, len(sample_C)))].mean(axis=1)
    tail = (1 - CONFIDENCE) / 2
    return Estimate(float(sample_C.mean()), float(np.quantile(means_R, tail)), float(np.quantile(means_R, 1 - tail)))


Quantity = Callable[[Score], float]

# Title of the column → what is taken from a score; those beside "valid" are of the two kinds of target, kept apart.
COLUMNS: dict[str, Quantity] = {
    "valid": lambda score: float(score.valid),
    "error": lambda score: score.error,
    "speed": lambda score: score.speed,
    "valid at own speed": lambda score: float(score.valid_slowed),
    "error at own speed": lambda score: score.scaled_error,
    "last quarter": lambda score: score.quarters[3],
    "retreat": lambda score: score.retreat,
    "frozen": lambda score: score.frozen,
    "seam": lambda score: score.seam,
    "jerk": lambda score: score.jerk,
    "colours": lambda score: score.colours,
    "sharpness": lambda score: score.sharpness,
    "there": lambda score: score.persistence,
}


def summary(outcomes: Sequence[Outcome], kind: str | None = None) -> dict[str, Estimate]:
    """Return each column's mean over the clips, of one world or of all."""
    scores = [outcome.score for outcome in outcomes if kind in (None, outcome.kind)]
    return {title: bootstrap([quantity(score) for score in scores]) for title, quantity in COLUMNS.items()}


def difference(one: Sequence[Outcome], other: Sequence[Outcome], column: str, kind: str | None = None) -> Estimate:
    """Return how much more ``one`` has of a column than ``other``, clip by clip.

    Raises:
        ValueError: the two are not of the same clips.

    """
    quantity = COLUMNS[column]
    first, second = ({(each.kind, each.seed): quantity(each.score) for each in cases} for cases in (one, other))
    if first.keys() != second.keys():
        raise ValueError(f"paired cells need the same clips, got {len(first)} and {len(second)}")
    return bootstrap([first[case] - second[case] for case in sorted(first) if kind in (None, case[0])])


def markdown(rows: Mapping[str, Sequence[Outcome]], columns: Sequence[str], baseline: str = "plain") -> str:
    """Return a table with a line for each method, last the paired difference of the first column to ``baseline``."""
    titles = ["method", *columns, f"{columns[0]} − {baseline}"]
    lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    for name, outcomes in rows.items():
        found = summary(outcomes)
        gained = str(difference(outcomes, rows[baseline], columns[0])) if name != baseline else ""
        lines.append("| " + " | ".join([name, *(str(found[column]) for column in columns), gained]) + " |")
    return "\n".join(lines)


SHOWN = ("valid", "error", "speed", "valid at own speed", "error at own speed", "last quarter", "retreat", "colours")


def write_report(cells: Sequence[Cell], folder: Path) -> Path:
    """Write the tables of finished cells, one for each length, as a page beside them; return where."""
    parts = []
    for frames in dict.fromkeys(cell.frames for cell in cells):
        rows = {cell.method.name: read_cell(cell, folder) for cell in cells if cell.frames == frames}
        clips = len(next(iter(rows.values())))
        parts.append(f"## {frames} frames, {clips} clips\n\n{markdown(rows, SHOWN)}\n")
    page = folder / "table.md"
    page.write_text("\n".join(parts), encoding="utf-8")
    return page
