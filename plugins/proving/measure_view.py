"""What was measured of videos, as a table, as JSON and as a plot over time."""

from __future__ import annotations

import json
import math
from pathlib import Path

from rich.table import Table
from rich.text import Text

from ...core.cli.screen import Screen
from ...core.errors import printable
from ...core.files.picture import save_figure
from .video_measures import Measure

Measured = dict[str, list[Measure]]


def as_json(measured: Measured) -> str:
    """Return name of the video → name of the measure → value, unit, what is better, meaning and curve."""
    data = {
        video: {
            measure.name: {
                "value": _number(measure.value),
                "unit": measure.unit,
                "better": measure.better,
                "meaning": measure.meaning,
                "curve": [_number(value) for value in measure.curve.tolist()],
            }
            for measure in measures
        }
        for video, measures in measured.items()
    }
    return json.dumps(data)


def _number(value: float) -> float | None:
    """Return a number as JSON can hold it."""
    return value if math.isfinite(value) else None


def print_table(measured: Measured) -> None:
    """Print a row for each measure and a column for each video."""
    table = Table()
    table.add_column("measure", style="bold")
    for video in measured:
        table.add_column(Text(printable(Path(video).name)), justify="right")
    for title in ("unit", "better"):
        table.add_column(title)
    for measures in zip(*measured.values(), strict=True):
        first = measures[0]
        table.add_row(first.name, *(f"{measure.value:.3g}" for measure in measures), first.unit, first.better)
    Screen(highlight=False).print(table)


def draw(measured: Measured, path: Path) -> None:
    """Draw the curve of each measure, all videos in one panel; the file appears only when whole.

    Raises:
        OutputError: it cannot be written.

    """
    from matplotlib.figure import Figure

    names = [measure.name for measure in next(iter(measured.values()))]
    across = 4
    figure = Figure(figsize=(4 * across, 3 * math.ceil(len(names) / across)), layout="constrained")
    panels = figure.subplots(math.ceil(len(names) / across), across, squeeze=False).flat
    for index, panel in enumerate(panels):
        if index >= len(names):
            panel.axis("off")
            continue
        for video, measures in measured.items():
            panel.plot(measures[index].curve, label=_label(video))
        panel.set(title=names[index], xlabel="frame")
        panel.set_ylim(bottom=0)
    panels[0].legend(frameon=False)
    save_figure(figure, path)


def _label(video: str) -> str:
    """Return the name of a video as matplotlib draws it: no formula, and shown although it begins with a dash below."""
    name = printable(Path(video).name).replace("$", r"\$")
    return f" {name}" if name.startswith("_") else name
