"""The results as a file and as tables, for the page in docs/benchmarks."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.errors import LongtakeError
from ...core.whole import whole_file
from ..proving.machine import libraries, machine
from .pairs import Result

if TYPE_CHECKING:
    import torch


def earlier_results(path: Path, device: torch.device) -> tuple[list[Result], dict[str, str]]:
    """Return what a file holds, if it is there, and what is to be known of results that are made here.

    Raises:
        LongtakeError: it holds results of another machine or other versions, or none at all.

    """
    about = {"machine": machine(str(device)), "libraries": libraries()}
    if not path.exists():
        return [], about
    earlier, then = read_results(path)
    if then != about:
        raise LongtakeError(f"{path} holds results of {then}, not of {about}; write to another file")
    return earlier, about


def add_results(results: Sequence[Result], path: Path, device: torch.device) -> None:
    """Write results to a file, in the place of those of the same calls and contenders; others stay.

    Raises:
        LongtakeError: it holds results of another machine or other versions, or none at all.

    """
    earlier, about = earlier_results(path, device)
    again = {(call_of(each), each.contender) for each in results}
    kept = [each for each in earlier if (call_of(each), each.contender) not in again]
    lines = ",\n".join(json.dumps(asdict(each)) for each in [*kept, *results])
    with whole_file(path) as part:
        part.write_text(f'{{"about": {json.dumps(about)},\n"results": [\n{lines}\n]}}\n', encoding="utf-8")


def call_of(result: Result) -> tuple[object, ...]:
    """Return what was called; its contenders are measured together. Of limits, the frames are what comes out."""
    return result.what, result.size, result.dtype, None if "limit" in result.what else result.frames


def read_results(path: Path) -> tuple[list[Result], dict[str, str]]:
    """Return the results of a file that ``longtake bench`` wrote, and what is to be known about them.

    Raises:
        LongtakeError: it holds no such thing.

    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return [Result(**result) for result in data["results"]], data["about"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise LongtakeError(f"{path} holds no results of a bench: {error}") from None


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
