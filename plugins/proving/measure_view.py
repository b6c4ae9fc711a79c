"""Videos read for measuring, and what was measured as a table, as JSON and as a plot over time."""

from __future__ import annotations

import json
import math
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from rich.console import Console
from rich.table import Table

from ...core.errors import LongtakeError
from ...core.picture import save_figure
from .video_measures import Frames, Measure

Measured = dict[str, list[Measure]]
SMALLEST = 8  # rows and columns; in less no motion can be seen


def read_video(path: Path) -> Frames:
    """Read a video file, a folder of PNGs, or an array, as (F, H, W, 3) in uint8.

    Raises:
        LongtakeError: it is not there or cannot be read, or it holds no video.

    """
    if not path.exists():
        raise LongtakeError(f"video {path} does not exist")
    try:
        frames = _read(path)
    except (OSError, ValueError) as error:
        raise LongtakeError(f"video {path} cannot be read: {error}") from None
    if frames.ndim != 4 or frames.shape[-1] < 3 or frames.dtype != np.uint8:
        raise LongtakeError(f"video {path} must hold (F, H, W, 3) in uint8, got {frames.shape} in {frames.dtype}")
    if min(frames.shape[1:3]) < SMALLEST:
        raise LongtakeError(f"video {path} must have at least {SMALLEST} rows and columns, got {frames.shape[1:3]}")
    return frames[..., :3]


def _read(path: Path) -> Frames:
    if path.is_dir():
        files = sorted(path.glob("*.png"))
        if not files:
            raise LongtakeError(f"folder {path} holds no PNGs")
        return np.stack([iio.imread(file) for file in files])
    if path.suffix.lower() == ".npy":
        array: Frames = np.load(path)
        return array
    plugin = "pillow" if path.suffix.lower() in (".gif", ".webp") else "pyav"
    return np.stack(list(iio.imiter(path, plugin=plugin)))


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
        table.add_column(Path(video).name, justify="right")
    for title in ("unit", "better"):
        table.add_column(title)
    for measures in zip(*measured.values(), strict=True):
        first = measures[0]
        table.add_row(first.name, *(f"{measure.value:.3g}" for measure in measures), first.unit, first.better)
    Console(highlight=False).print(table)


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
            panel.plot(measures[index].curve, label=Path(video).name)
        panel.set(title=names[index], xlabel="frame")
        panel.set_ylim(bottom=0)
    panels[0].legend(frameon=False)
    save_figure(figure, path)
