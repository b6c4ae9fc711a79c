"""Cost against length, drawn."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from ...core.files.picture import save_figure
from .pairs import Result


def draw_lengths(results: Sequence[Result], path: Path) -> None:
    """Draw time for each frame and memory over the number of frames, a line for each contender.

    Args:
        results: of part "length"; others are left out.
        path: of the picture.

    """
    from matplotlib.figure import Figure

    found = [result for result in results if result.what == "length" and not result.failed]
    figure = Figure(figsize=(10, 4), layout="constrained")
    times, memory = figure.subplots(1, 2)
    for contender in dict.fromkeys(result.contender for result in found):
        line = sorted((result for result in found if result.contender == contender), key=lambda result: result.frames)
        frames = [result.frames for result in line]
        times.plot(
            frames, [1000 * statistics.median(each.seconds) / each.frames for each in line], ".-", label=contender
        )
        memory.plot(frames, [result.peak / 2**20 for result in line], ".-", label=contender)
    times.set(xscale="log", xlabel="frames", ylabel="milliseconds a frame", title="time of one call of the UNet")
    times.set_ylim(bottom=0)
    memory.set(xscale="log", yscale="log", xlabel="frames", ylabel="MiB", title="memory that it takes")
    lengths = sorted({result.frames for result in found})
    for axes in (times, memory):
        axes.set_xticks(lengths, [str(frames) for frames in lengths])
        axes.minorticks_off()
    times.legend(frameon=False, fontsize="small")
    save_figure(figure, path)
