"""A search from the config that was asked for to the best one: what ``longtake tune`` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ....core.config import STRATEGY_KINDS, Config, load_config
from ....core.defaults import resolve
from ....core.errors import ConfigError, LongtakeError
from ....core.facts import read_facts
from ....core.image import read_image
from ....core.manager import Plugins
from ....core.model import load_model
from .goals import image_goal, worlds_goal
from .space import Dimension, parse, usual_space, with_values
from .study import Trial, search
from .view import draw


def tune(
    config: Config,
    plugins: Plugins,
    out: Path,
    searched: Sequence[str] = (),
    measure: str | None = None,
    worlds: int | None = None,
    trials: int = 30,
    finished: Callable[[int, float, dict[str, Any]], None] = lambda number, value, values: None,
) -> Path:
    """Search around a config; write the trials, the best config and a picture of the search.

    Args:
        config: as asked for; the kinds of strategies that it names are searched.
        plugins: with the strategies.
        out: folder for ``best.yaml``, ``trials.csv``, ``tune.png`` and the log from which a search goes on.
        searched: dimensions, such as ``motion.strength=0..1.5``; by default bounded options, and the motion bucket.
        measure: what is sought.
        worlds: tune on so many clips of each world, not on the image of the config.
        trials: in all.
        finished: is told number, measure and values of every new trial.

    Returns:
        The file with the best config.

    Raises:
        LongtakeError: anything that a user can mend.

    """
    portrait = False
    if config.image and worlds:
        raise LongtakeError("name an image to tune on, or --worlds N for clips whose truth is known, not both")
    if config.image:
        picture = read_image(config.image)
        portrait = picture.height > picture.width
    elif not worlds:
        raise LongtakeError("name an image to tune on, or --worlds N for clips whose truth is known")
    facts = read_facts(config.model, config.trained, config.variant)
    named = [kind for kind in STRATEGY_KINDS if getattr(config, kind)]
    whole = resolve(config.model_copy(update={"seed": config.seed or 0}), facts, plugins.registry, portrait=portrait)
    space = [parse(text, whole) for text in searched]
    for dimension in space:
        _see_that_it_counts(dimension, whole, plugins, on_worlds=bool(worlds))
    if not space:
        # Each clip of a world has a motion bucket of its own.
        space = [
            dimension for dimension in usual_space(whole, named, facts.top_bucket) if not worlds or "." in dimension.key
        ]
    if not space:
        raise LongtakeError("nothing to search: no option of these strategies has bounds; say what with --search")
    model = load_model(
        config.model, dtype=whole.dtype, device=whole.device, variant=config.variant, trained=facts.trained
    )
    goal = worlds_goal(measure, worlds, model, plugins) if worlds else image_goal(measure, model, plugins)

    def tell(trial: Trial) -> None:
        finished(trial.number, trial.value, trial.values)

    found = search(whole.dump(), space, goal, trials, out, tell)
    draw(found, space, goal, out / "tune.png")
    return out / "best.yaml"


def _see_that_it_counts(dimension: Dimension, config: Config, plugins: Plugins, *, on_worlds: bool) -> None:
    """Find out before any trial whether the values of a dimension can be asked for, and change anything.

    Raises:
        LongtakeError: they cannot, or do not.

    """
    if on_worlds and dimension.key.split(".")[0] not in STRATEGY_KINDS:
        raise LongtakeError(
            f"--search {dimension} changes nothing on worlds, whose clips have it from the table; "
            f"there, search strategies and their options: {', '.join(STRATEGY_KINDS)}"
        )
    problems = []
    for value in dimension.ends():
        try:
            load_config(with_values(config.dump(), {dimension.key: value}), plugins.registry)
        except ConfigError as error:
            problems.append(f"--search {dimension}: {error}")
    # Another strategy may be chosen beside it that has the option.
    if len(problems) == len(dimension.ends()) and not _of_another(dimension, config, plugins):
        raise LongtakeError(problems[0])


def _of_another(dimension: Dimension, config: Config, plugins: Plugins) -> bool:
    """Whether it is an option of another strategy of the kind than that of the config."""
    kind, _, option = dimension.key.partition(".")
    if not option:
        return False
    others = set(plugins.registry.classes[kind].values()) - {type(getattr(config, kind))}
    name = option.split(".")[0]
    return name not in type(getattr(config, kind)).model_fields and any(name in each.model_fields for each in others)
