"""The results as a file and as tables, for the page in docs/benchmarks."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.errors import LongtakeError
from ...core.files.whole import whole_file
from ..proving.machine import libraries, machine
from .pairs import Result

if TYPE_CHECKING:
    import torch

UNMEASURED = "*Not measured yet.*"


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
    frames = None if "limit" in result.what else result.frames
    return result.what, result.size, result.dtype, frames, result.steps, result.cap


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
    """Return a table of one part: contenders by calls, each with its seconds and how many times faster it is.

    Where the first contender of a call is not the table's, it is named.
    """
    found = [result for result in results if result.what == what]
    if not found:
        return UNMEASURED
    calls = {call_of(result): result for result in sorted(found, key=_order)}
    lines = [f"| | {' | '.join(_head(result) for result in calls.values())} |", "|---|" + "---|" * len(calls)]
    base = next((result.base for result in found if result.base), "")
    for contender in dict.fromkeys(result.contender for result in found):
        of_it = {call_of(result): result for result in found if result.contender == contender}
        cells = [_cell(of_it[call], base) if call in of_it else "–" for call in calls]
        lines.append(f"| {contender} | {' | '.join(cells)} |")
    return "\n".join(lines)


def limits(results: list[Result], what: str) -> str:
    """Return a table of how many frames each contender can do, at each cap."""
    found = [result for result in results if result.what == what]
    if not found:
        return UNMEASURED
    caps = sorted({result.cap for result in found}, key=lambda cap: cap or inf)
    lines = [f"| | {' | '.join('frames' + _within(cap) for cap in caps)} |", "|---|" + "---|" * len(caps)]
    for contender in dict.fromkeys(result.contender for result in found):
        most = {result.cap: _most(result) for result in found if result.contender == contender}
        lines.append(f"| {contender} | {' | '.join(most.get(cap, '–') for cap in caps)} |")
    return "\n".join(lines)


def _most(result: Result) -> str:
    return f"{result.frames} or more" if result.frames == result.tried else str(result.frames)


def _order(result: Result) -> tuple[float, ...]:
    return result.frames, result.steps or 0, result.cap or inf


def _head(result: Result) -> str:
    steps = f", {result.steps} step{'s' if result.steps > 1 else ''}" if result.steps else ""
    return f"{result.frames} frames{steps}{_within(result.cap)}"


def _within(cap: float | None) -> str:
    return f" within {cap:g} GiB" if cap else ""


def _cell(result: Result, base: str) -> str:
    if result.failed:
        return result.failed
    step = f" ({statistics.median(result.unet) / result.steps:.2f} s a step)" if result.unet and result.steps else ""
    peak = f", {result.peak / 2**30:.1f} GiB" if result.peak else ""
    other = f" beside {result.base}" if result.base not in ("", base, result.contender) else ""
    return f"{statistics.median(result.seconds):.2f} s{step}{peak}: {result.ratio()}{other}"
