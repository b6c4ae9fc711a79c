"""What can be sought: a measure of videos without truth on an image, or one with truth on the worlds."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ....core.config import STRATEGY_KINDS, load_config
from ....core.errors import LongtakeError, did_you_mean
from ....core.generate import generate
from ..cases import Case, make
from ..clips import KINDS
from ..measures import score
from ..method import Method
from ..results import COLUMNS
from ..video_measures import measure_video
from .study import Goal

if TYPE_CHECKING:
    from ....core.manager import Plugins
    from ....core.model import Model

IMAGE_MEASURES = {
    "unexplained per pixel": "low",
    "warp error": "low",
    "flicker": "low",
    "motion": "high",
    "stutter": "low",
    "seam": "low",
    "repetition": "low",
    "retreat": "low",
    "colour drift": "low",
    "sharpness kept": "high",
}
USUAL_FOR_IMAGES, USUAL_FOR_WORLDS = "unexplained per pixel", "error"


def image_goal(measure: str | None, model: Model, plugins: Plugins) -> Goal:
    """Return the search for the best of a measure of ``longtake measure``, on the image of the config.

    Raises:
        LongtakeError: there is no such measure.

    """
    name = _known(measure or USUAL_FOR_IMAGES, IMAGE_MEASURES)
    return Goal(name, IMAGE_MEASURES[name], partial(_of_image, name, model, plugins))


def _of_image(name: str, model: Model, plugins: Plugins, data: dict[str, Any]) -> float:
    result = generate(load_config(data, plugins.registry), model=model, plugins=plugins)
    assert result.frames is not None
    return next(each.value for each in measure_video(result.frames) if each.name == name)


def worlds_goal(measure: str | None, seeds: int, model: Model, plugins: Plugins) -> Goal:
    """Return the search for the best of a column of the proving ground's table, the mean over clips of all worlds.

    Raises:
        LongtakeError: there is no such column.

    """
    better = {title: column.better for title, column in COLUMNS.items()}
    name = _known(measure or USUAL_FOR_WORLDS, better)
    return Goal(name, better[name], partial(_of_worlds, name, seeds, model, plugins))


def _of_worlds(name: str, seeds: int, model: Model, plugins: Plugins, data: dict[str, Any]) -> float:
    load_config(data, plugins.registry)
    method = Method("searched", {kind: data[kind] for kind in STRATEGY_KINDS})
    values = []
    for seed in range(seeds):
        for kind in KINDS:
            case = Case(kind, seed, data["frames"])
            made = make(method, case, data["steps"], model, plugins)
            values.append(COLUMNS[name].take(score(case.clip(), made.video_FHW3, made.borders)))
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else float("nan")


def _known(name: str, known: dict[str, str]) -> str:
    if name not in known:
        raise LongtakeError(f"unknown measure {name!r}; known: {', '.join(known)}{did_you_mean(name, known)}")
    return name
