"""The results as a table, for the page in docs/benchmarks."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

from .pairs import Result


def read_results(path: Path) -> tuple[list[Result], dict[str, str]]:
    """Return the results of a file that ``longtake bench`` wrote, and what is to be known about them."""
    data = json.loads(path.read_text(encoding="utf-8"))
    return [Result(**result) for result in data["results"]], data["about"]


def table(results: list[Result], what: str) -> str:
    """Return a table of one part: contenders by lengths, each with its seconds and how many times faster it is."""
    found = [result for result in results if result.what == what]
    lengths = sorted({result.frames for result in found})
    lines = ["| | " + " | ".join(f"{frames} frames" for frames in lengths) + " |", "|---|" + "---|" * len(lengths)]
    for contender in dict.fromkeys(result.contender for result in found):
        cells = [_cell(found, contender, frames) for frames in lengths]
        lines.append(f"| {contender} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(results: list[Result], contender: str, frames: int) -> str:
    result = next((each for each in results if (each.contender, each.frames) == (contender, frames)), None)
    if result is None:
        return "–"
    if result.failed:
        return result.failed
    peak = f", {result.peak / 2**30:.1f} GiB" if result.peak else ""
    return f"{statistics.median(result.seconds):.2f} s{peak}: {result.ratio()}"
