"""What the table says: shares of valid videos and paired differences to plain SVD, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .results import Row
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


def estimate(row: Row, column: str, kind: str | None = None) -> Estimate | None:
    """Return a column's mean over the clips, of one world or of all; None where it means nothing for any of them."""
    values = [value for of, value in zip(row.kinds, row.columns[column], strict=True) if kind in (None, of)]
    known = [value for value in values if value is not None]
    return bootstrap(known) if known else None


def difference(one: Row, other: Row, column: str, kind: str | None = None) -> Estimate:
    """Return how much more ``one`` has of a column than ``other``, clip by clip.

    Where one row has more clips than the other, those that both have are compared.

    Raises:
        ValueError: the two have no clip in common.

    """
    first, second = _by_case(one, column), _by_case(other, column)
    shared = [case for case in first if case in second and kind in (None, case[0])]
    pairs = [(first[case], second[case]) for case in shared]
    differences = [mine - theirs for mine, theirs in pairs if mine is not None and theirs is not None]
    if not differences:
        raise ValueError("paired rows need clips in common")
    return bootstrap(differences)


def _by_case(row: Row, column: str) -> dict[tuple[str, int], float | None]:
    return dict(zip(zip(row.kinds, row.seeds, strict=True), row.columns[column], strict=True))


def markdown(
    rows: Sequence[Row], columns: Sequence[str], baseline: str | None = "plain", kind: str | None = None
) -> str:
    """Return a table with a line for each row, last the paired difference of the first column to ``baseline``."""
    against = next((row for row in rows if row.method == baseline), None)
    titles = ["method", *columns, *([f"{columns[0]} − {baseline}"] if against else [])]
    lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    for row in rows:
        cells = [row.method, *(str(estimate(row, column, kind) or "–") for column in columns)]
        if against:
            cells.append("" if row is against else str(difference(row, against, columns[0], kind)))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def pick(rows: Sequence[Row], frames: int) -> Mapping[str, Row]:
    """Return the rows of a length by method; of two of the same method the one with more clips."""
    chosen: dict[str, Row] = {}
    for row in rows:
        if row.frames == frames and len(row.seeds) >= len(chosen[row.method].seeds if row.method in chosen else []):
            chosen[row.method] = row
    return chosen
