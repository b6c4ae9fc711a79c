"""A picture of a search: how the best one came about, and what each dimension does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ....core.files.picture import save_figure
from .space import Dimension
from .study import Goal, Trial

ACROSS = 3


def draw(trials: Sequence[Trial], space: Sequence[Dimension], goal: Goal, path: Path) -> None:
    """Draw the measure over the trials, and over the values of each dimension; the best trial is marked.

    Args:
        trials: the best first.
        space: what was searched.
        goal: of the search.
        path: of the picture.

    """
    from matplotlib.figure import Figure

    rows = math.ceil((1 + len(space)) / ACROSS)
    figure = Figure(figsize=(4.2 * ACROSS, 3.2 * rows), layout="constrained")
    panels = list(figure.subplots(rows, ACROSS, squeeze=False).flat)
    in_order = sorted(trials, key=lambda trial: trial.number)
    numbers, values = [trial.number for trial in in_order], [trial.value for trial in in_order]
    best_so_far = [min(values[: end + 1], key=goal.loss) for end in range(len(values))]
    panels[0].scatter(numbers, values, s=14, color="0.6", label="trial")
    panels[0].step(numbers, best_so_far, where="post", color="C0", label="best so far")
    panels[0].set(title=f"{goal.measure} ({_wish(goal)})", xlabel="trial")
    panels[0].legend(frameon=False)
    for panel, dimension in zip(panels[1:], space, strict=False):
        panel.scatter(*_points(in_order, dimension), s=14, c=numbers, cmap="Blues", vmin=-len(numbers) / 2)
        panel.scatter(*_points(trials[:1], dimension), s=60, facecolors="none", edgecolors="C3")
        panel.set(xlabel=dimension.key, ylabel=goal.measure)
        if dimension.choices:
            panel.set_xticks(range(len(dimension.choices)), [str(choice) for choice in dimension.choices])
            panel.set_xlim(-0.5, len(dimension.choices) - 0.5)
    for panel in panels[1 + len(space) :]:
        panel.axis("off")
    save_figure(figure, path)


def _wish(goal: Goal) -> str:
    return {"low": "low is good", "high": "high is good", "1": "1 is good"}[goal.better]


def _points(trials: Sequence[Trial], dimension: Dimension) -> tuple[np.ndarray, np.ndarray]:
    values = [trial.values[dimension.key] for trial in trials]
    across = [dimension.choices.index(value) for value in values] if dimension.choices else values
    return np.array(across, dtype=float), np.array([trial.value for trial in trials])
