"""The search itself, by Optuna: it can be stopped at any time, and goes on from the trials that are finished."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....core.documents import write_yaml
from ....core.errors import ConfigError, LongtakeError
from ....core.files.whole import make_folder, whole_file
from .space import Dimension, value_of, with_values

if TYPE_CHECKING:
    import optuna

NAME = "longtake"


@dataclass(frozen=True, slots=True)
class Goal:
    """What is sought: a measure, and where it is best.

    Attributes:
        measure: its name.
        better: "low", "high" or "1".
        of: the measure of a generation from plain config data; NaN where it means nothing.

    """

    measure: str
    better: str
    of: Callable[[dict[str, Any]], float]

    def loss(self, value: float) -> float:
        """Return what is to be as small as possible."""
        return {"low": value, "high": -value, "1": abs(value - 1)}[self.better]


@dataclass(frozen=True, slots=True)
class Trial:
    """One generation of the search."""

    number: int
    value: float
    values: dict[str, Any]


def search(
    data: dict[str, Any],
    space: Sequence[Dimension],
    goal: Goal,
    trials: int,
    folder: Path,
    finished: Callable[[Trial], None] = lambda trial: None,
) -> list[Trial]:
    """Search until so many trials are finished, those of earlier runs counted; the first one changes nothing.

    Args:
        data: plain config data with nothing left to choose.
        space: what may be changed.
        goal: of the search.
        trials: in all.
        folder: for the log of trials, the best config so far and the table of all.
        finished: is told every new trial.

    Returns:
        All finished trials, the best first.

    Raises:
        LongtakeError: the folder holds another search, nothing could be generated, or Optuna is not installed.

    """
    library = _optuna()
    make_folder(folder)
    study = _study(library, data, space, goal, folder)

    def objective(trial: optuna.Trial) -> float:
        values = {dimension.key: dimension.suggest(trial) for dimension in space}
        try:
            value = goal.of(with_values(data, values))
        except ConfigError as error:  # options that do not go together
            trial.set_user_attr("refused", str(error))
            raise library.TrialPruned from None
        if not math.isfinite(value):
            trial.set_user_attr("refused", f"{goal.measure} is {value}")
            raise library.TrialPruned
        trial.set_user_attr("value", value)
        return goal.loss(value)

    while (tried := _tried(study)) < trials:
        # Another seed for every trial: a sampler that is made anew would suggest the first values again.
        study.sampler = library.samplers.TPESampler(seed=tried, n_startup_trials=min(10, max(3, trials // 3)))
        study.optimize(objective, n_trials=1)
        _write(study, goal, data, space, folder)
        last = study.trials[-1]
        if last.state.name == "COMPLETE":
            finished(_trial(last))
    best_first = _best_first(study, goal)
    if not best_first:
        raise LongtakeError(f"none of {trials} trials gave a video: {_reason(study)}")
    _write(study, goal, data, space, folder)
    return best_first


def _study(library: Any, data: dict[str, Any], space: Sequence[Dimension], goal: Goal, folder: Path) -> optuna.Study:
    log = library.storages.journal.JournalFileBackend(str(folder / "trials.log"))
    storage = library.storages.JournalStorage(log)
    try:
        study: optuna.Study = library.create_study(storage=storage, study_name=NAME, load_if_exists=True)
    except (ValueError, KeyError, TypeError) as error:
        raise LongtakeError(f"{folder / 'trials.log'} is no log of a search: {error}; name another folder") from None
    asked = {"config": data, "space": [str(dimension) for dimension in space], "measure": goal.measure}
    for name, value in asked.items():
        before = study.user_attrs.get(name, value)
        if before != value:
            raise LongtakeError(f"{folder} holds a search with another {name}: go on with that, or name another folder")
        study.set_user_attr(name, value)
    if not study.trials:
        usual = {dimension.key: value_of(data, dimension.key) for dimension in space}
        study.enqueue_trial({each.key: usual[each.key] for each in space if each.holds(usual[each.key])})
    return study


def _tried(study: optuna.Study) -> int:
    return sum(trial.state.name in ("COMPLETE", "PRUNED") for trial in study.trials)


def _trial(trial: optuna.trial.FrozenTrial) -> Trial:
    return Trial(trial.number, trial.user_attrs["value"], dict(trial.params))


def _best_first(study: optuna.Study, goal: Goal) -> list[Trial]:
    finished = [_trial(trial) for trial in study.trials if trial.state.name == "COMPLETE"]
    return sorted(finished, key=lambda trial: goal.loss(trial.value))


def _reason(study: optuna.Study) -> str:
    return next((str(trial.user_attrs["refused"]) for trial in study.trials if "refused" in trial.user_attrs), "?")


def _write(study: optuna.Study, goal: Goal, data: dict[str, Any], space: Sequence[Dimension], folder: Path) -> None:
    """Write the best config and the table of trials as they are now."""
    best_first = _best_first(study, goal)
    if not best_first:
        return
    with whole_file(folder / "best.yaml") as part:
        part.write_text(write_yaml(with_values(data, best_first[0].values)), encoding="utf-8")
    with whole_file(folder / "trials.csv") as part, part.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["trial", goal.measure, *(dimension.key for dimension in space)])
        for trial in best_first:
            writer.writerow([trial.number, trial.value, *(trial.values[dimension.key] for dimension in space)])


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise LongtakeError("tuning needs Optuna; install it with: pip install 'longtake[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # it warns of a failed trial with a traceback
    return optuna
