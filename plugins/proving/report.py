"""What the table says: means over clips and paired differences, with the intervals in which they lie with 95 %.

Intervals of shares are Wilson's (1927), of paired differences of shares those of Agresti and Min (2005), which keep
their promise where nearly all clips agree; of everything else they are bootstrapped over the clips.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .results import COLUMNS, Row
from .worlds.canvas import Array

RESAMPLES = 2000
CONFIDENCE = 0.95
Z = 1.959964  # standard deviations of the normal distribution between which so much lies


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


def share(values_C: Sequence[float]) -> Estimate:
    """Return the share of clips with a yes and its interval (Wilson 1927)."""
    count = len(values_C)
    found = sum(values_C) / count
    middle = (found + Z**2 / (2 * count)) / (1 + Z**2 / count)
    half = Z * np.sqrt(found * (1 - found) / count + Z**2 / (4 * count**2)) / (1 + Z**2 / count)
    # But for rounding it lies in [0, 1] and around what was found.
    return Estimate(found, max(0.0, min(found, float(middle - half))), min(1.0, max(found, float(middle + half))))


def share_difference(differences_C: Sequence[float]) -> Estimate:
    """Return the difference of two shares of the same clips and its interval (Agresti and Min 2005).

    Half a clip is added to each of the four ways in which two answers can come out.
    """
    more, less = (sum(difference == sign for difference in differences_C) for sign in (1, -1))
    count = len(differences_C) + 2
    middle = (more - less) / count
    half = Z * np.sqrt((more + less + 1) / count - middle**2) / np.sqrt(count)
    found = (more - less) / len(differences_C)
    return Estimate(found, float(max(-1.0, middle - half)), float(min(1.0, middle + half)))


def estimate(row: Row, column: str, kind: str | None = None) -> Estimate | None:
    """Return a column's mean over the clips, of one world or of all; None where it means nothing for any of them."""
    values = [value for of, value in zip(row.kinds, row.columns[column], strict=True) if kind in (None, of)]
    known = [value for value in values if value is not None]
    if not known:
        return None
    return share(known) if COLUMNS[column].yes_or_no else bootstrap(known)


def difference(one: Row, other: Row, column: str, kind: str | None = None) -> Estimate | None:
    """Return how much more ``one`` has of a column than ``other``, clip by clip; None where nothing is known of both.

    Where one row has more clips than the other, those that both have are compared.
    """
    first, second = _by_case(one, column), _by_case(other, column)
    shared = [case for case in first if case in second and kind in (None, case[0])]
    pairs = [(first[case], second[case]) for case in shared]
    differences = [mine - theirs for mine, theirs in pairs if mine is not None and theirs is not None]
    if 2 * len(differences) < len(pairs) or not differences:  # what is left would be another selection of clips
        return None
    return share_difference(differences) if COLUMNS[column].yes_or_no else bootstrap(differences)


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
            cells.append("" if row is against else str(difference(row, against, columns[0], kind) or "–"))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def pick(rows: Sequence[Row], frames: int) -> Mapping[str, Row]:
    """Return the rows of a length by method; of two of the same method the one with more clips."""
    chosen: dict[str, Row] = {}
    for row in rows:
        if row.frames == frames and len(row.seeds) >= len(chosen[row.method].seeds if row.method in chosen else []):
            chosen[row.method] = row
    return chosen
