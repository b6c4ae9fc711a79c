"""The parts of docs/proving-ground.md that come from the results: tables, and sentences with numbers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from .cases import TRAINED, Case
from .clips import KINDS
from .methods import METHODS
from .report import Estimate, difference, estimate, markdown, pick, share
from .results import COLUMNS, Row, read_results

MANY = 64  # clips in the rows on which conclusions rest


class Page:
    """The results of a table, asked for by a page.

    Args:
        path: of ``results.json``.

    """

    def __init__(self, path: Path) -> None:
        self.rows, self.about = read_results(path)

    def made(self) -> str:
        """Return a sentence that says what was compared, and by whom it was made."""
        clips = sorted({len(row.seeds) for row in self.rows})
        steps = sorted({row.steps for row in self.rows})
        return (
            f"{len({row.method for row in self.rows})} methods, {sum(len(row.seeds) for row in self.rows)} videos; "
            f"{', '.join(map(str, clips))} clips in a cell; {' or '.join(map(str, steps))} steps. "
            f"Made by `longtake prove run --out docs/proving` at {'; '.join(self._makers())}."
        )

    def _makers(self) -> list[str]:
        """Return what made the rows: commits of the same machine and libraries together."""
        commits: dict[str, list[str]] = {}
        for made in self.about["made"]:
            commit, where = made.removeprefix("commit ").split(", ", 1)
            commits.setdefault(where, []).append(commit)
        return [
            f"{'commits' if len(each) > 1 else 'commit'} {', '.join(each)}, {where}" for where, each in commits.items()
        ]

    def row(self, method: str, frames: int) -> Row:
        """Return a row by its method; a KeyError says that it is not there."""
        return pick(self.rows, frames)[method]

    def has(self, method: str, frames: int) -> bool:
        """Whether there is a row of a method at a length."""
        return method in pick(self.rows, frames)

    def table(self, methods: Sequence[str], frames: int, columns: Sequence[str], baseline: str | None = None) -> str:
        """Return a table of some methods at one length."""
        return markdown([self.row(method, frames) for method in methods], columns, baseline)

    def lengths(self, methods: Sequence[str], column: str, lengths: Sequence[int]) -> str:
        """Return a table of one column: methods by lengths; rows of few clips say so."""
        lines = [
            "| " + " | ".join([column, *(f"{frames} frames" for frames in lengths)]) + " |",
            "|" + "---|" * (1 + len(lengths)),
        ]
        for method in methods:
            cells = [_cell(self.row(method, frames), column) for frames in lengths]
            lines.append("| " + " | ".join([method, *cells]) + " |")
        return "\n".join(lines)

    def worlds(self, methods: Sequence[str], frames: int, column: str) -> str:
        """Return a table of one column at one length: methods by worlds."""
        lines = ["| " + " | ".join([column, *KINDS]) + " |", "|" + "---|" * (1 + len(KINDS))]
        for method in methods:
            cells = [_cell(self.row(method, frames), column, kind) for kind in KINDS]
            lines.append("| " + " | ".join([method, *cells]) + " |")
        return "\n".join(lines)

    def by_bucket(self, method: str, frames: int, edges: Sequence[float]) -> str:
        """Return the share of valid videos by the motion bucket that a clip is raised to."""
        row = self.row(method, frames)
        # What a row holds of a clip is its number, from which everything else of it comes.
        cases = [Case(kind, number // len(KINDS), frames) for kind, number in zip(row.kinds, row.seeds, strict=True)]
        raised = [case.clip().motion_bucket * frames / TRAINED for case in cases]
        lines = ["| bucket raised to | clips | valid |", "|---|---|---|"]
        for low, high in pairwise(edges):
            inside = [
                value or 0.0 for bucket, value in zip(raised, row.columns["valid"], strict=True) if low <= bucket < high
            ]
            lines.append(f"| {low:g} to {high:g} | {len(inside)} | {share(inside)} |")
        return "\n".join(lines)

    def gain(self, method: str, other: str, frames: int, column: str, kind: str | None = None) -> Estimate | None:
        """Return how much more of a column one method has than another, clip by clip, where it is known of both."""
        return difference(self.row(method, frames), self.row(other, frames), column, kind)

    def gains(self, pairs: Sequence[tuple[str, str]], column: str, lengths: Sequence[int]) -> str:
        """Return a table of how much more of a column the first of each pair has than the second, clip by clip.

        An interval that leaves out 0 is set in bold.
        """
        lines = [
            "| " + " | ".join([f"difference in {column}", *(f"{frames} frames" for frames in lengths)]) + " |",
            "|" + "---|" * (1 + len(lengths)),
        ]
        for one, other in pairs:
            cells = [_marked(self.gain(one, other, frames, column)) for frames in lengths]
            lines.append("| " + " | ".join([f"{one} − {other}", *cells]) + " |")
        return "\n".join(lines)

    def best(self, frames: int, column: str = "valid", count: int = 5) -> str:
        """Return the methods with most of a column and least error, of those that are generated, on many clips."""
        picked = pick(self.rows, frames)
        known = [method.name for method in METHODS if method.special != "truth" and method.name in picked]
        found = [picked[name] for name in known if len(picked[name].seeds) >= MANY]
        means = {
            row.method: [estimate(row, title) or Estimate(0, 0, 0) for title in (column, "error")] for row in found
        }
        ranked = sorted(found, key=lambda row: (-means[row.method][0].mean, means[row.method][1].mean))[:count]
        return "\n".join(
            f"- {row.method}: {column} {means[row.method][0]}, error {means[row.method][1]}" for row in ranked
        )


def _cell(row: Row, column: str, kind: str | None = None) -> str:
    few = f" ({len(row.seeds)} clips)" if len(row.seeds) < MANY else ""
    return f"{estimate(row, column, kind) or '–'}{few}"


def _marked(found: Estimate | None) -> str:
    if found is None:
        return "–"
    return f"**{found}**" if found.low > 0 or found.high < 0 else str(found)


def measures() -> str:
    """Return a table of all measures: unit, where a good video has them, meaning."""
    lines = ["| measure | unit | good | meaning |", "|---|---|---|---|"]
    lines += [f"| {title} | {column.unit} | {column.better} | {column.meaning} |" for title, column in COLUMNS.items()]
    return "\n".join(lines)
