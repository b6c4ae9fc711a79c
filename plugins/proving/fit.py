"""One resumable training loop for all stages: every step draws from its own seed, so a resumed run is the same run."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...core.errors import LongtakeError, first_line
from ...core.files.whole import make_folder, whole_file
from .optimize import MuonAndAdamW

EMA_DECAY = 0.999


class Row(NamedTuple):
    """One line of the log: the loss is the mean since the line before, the seconds are those of the stage."""

    stage: str
    step: int
    loss: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Stage:
    """What one stage trains, for how long, and the loss of one step, which must depend on the step's number only."""

    name: str
    model: nn.Module
    loss: Callable[[int], Tensor]
    steps: int
    learning_rate: float
    matrix_rate: float | None = None  # of Muon; none: AdamW trains everything
    warmup: int = 100


@dataclass
class Progress:
    """Everything a stage needs to go on where it stopped."""

    optimizer: MuonAndAdamW
    average: dict[str, Tensor]
    step: int = 0
    seconds: float = 0.0
    rows: list[Row] = field(default_factory=list)


def fit(
    stage: Stage,
    folder: Path,
    save_every: float,
    sample: Callable[[int], None] | None = None,
    log_every: int = 20,
) -> None:
    """Train ``stage.model`` from its last checkpoint in ``folder``; it ends with the averaged weights.

    A checkpoint is written when ``save_every`` seconds have passed since the last one, and at the end; ``sample`` is
    then called with the step while the model has the averaged weights.
    """
    progress = _resume(stage, folder)
    trained = _trained_parameters(stage.model)
    saved, losses = time.monotonic(), []
    while progress.step < stage.steps:
        started = time.monotonic()
        losses.append(_one_step(stage, progress, trained))
        progress.seconds += time.monotonic() - started
        finished = progress.step == stage.steps
        if progress.step % log_every and not finished:
            continue
        progress.rows.append(Row(stage.name, progress.step, sum(losses) / len(losses), progress.seconds))
        losses = []
        print("{} step {} loss {:.5f} after {:.0f} s".format(*progress.rows[-1]), flush=True)
        if finished or time.monotonic() - saved > save_every:
            _save(stage, progress, folder)
            if sample is not None:
                with averaged(stage.model, progress.average):
                    sample(progress.step)
            saved = time.monotonic()
    stage.model.load_state_dict(progress.average, strict=False)


@contextmanager
def averaged(model: nn.Module, average: dict[str, Tensor]) -> Iterator[None]:
    """Within it the model has the averaged weights, after it those being trained."""
    trained = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(average, strict=False)
    try:
        yield
    finally:
        model.load_state_dict(trained)


def _one_step(stage: Stage, progress: Progress, trained: dict[str, nn.Parameter]) -> float:
    loss = stage.loss(progress.step)
    progress.optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(trained.values(), 1.0)
    progress.optimizer.step(_share(progress.step, stage))
    progress.step += 1
    decay = min(EMA_DECAY, progress.step / (progress.step + 9))
    with torch.no_grad():
        for name, parameter in trained.items():
            progress.average[name].lerp_(parameter, 1 - decay)
    return loss.item()


def _share(step: int, stage: Stage) -> float:
    """Return the share of the learning rates: it rises over the warm-up, then falls along half a cosine to 2 %."""
    rise = min(1.0, (step + 1) / stage.warmup)
    return rise * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / stage.steps)))


def _trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def _resume(stage: Stage, folder: Path) -> Progress:
    trained = _trained_parameters(stage.model)
    progress = Progress(
        optimizer=MuonAndAdamW(list(trained.values()), stage.learning_rate, stage.matrix_rate),
        average={name: parameter.detach().clone() for name, parameter in trained.items()},
    )
    checkpoint = folder / f"{stage.name}.pt"
    if checkpoint.exists():
        try:
            state: dict[str, Any] = torch.load(checkpoint, weights_only=True, map_location="cpu")
            stage.model.load_state_dict(state["model"])
            progress.optimizer.load_state_dict(state["optimizer"])
            progress.average = {name: kept.to(trained[name].device) for name, kept in state["average"].items()}
            progress.step, progress.seconds = state["step"], state["seconds"]
            progress.rows = [Row(*row) for row in state["rows"]]
        except (OSError, RuntimeError, LookupError, TypeError, UnpicklingError) as error:
            raise LongtakeError(
                f"checkpoint {checkpoint} cannot be read: {first_line(error)}; remove it and this stage begins anew"
            ) from None
    return progress


def _save(stage: Stage, progress: Progress, folder: Path) -> None:
    make_folder(folder)
    state = {
        "model": stage.model.state_dict(),
        "optimizer": progress.optimizer.state_dict(),
        "average": progress.average,
        "step": progress.step,
        "seconds": progress.seconds,
        "rows": [tuple(row) for row in progress.rows],
    }
    save_whole(state, folder / f"{stage.name}.pt")
    write_log(progress.rows, folder / f"{stage.name}.csv")


def save_whole(state: object, path: Path) -> None:
    """Save what torch can save; the file has its name only when it is whole."""
    with whole_file(path) as part:
        torch.save(state, part)


def write_log(rows: Sequence[Row], path: Path) -> None:
    """Write the rows as CSV."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Row._fields)
        writer.writerows((row.stage, row.step, f"{row.loss:.6f}", f"{row.seconds:.1f}") for row in rows)


def read_log(path: Path) -> list[Row]:
    """Read what ``write_log`` wrote."""
    with path.open(newline="") as file:
        return [
            Row(line["stage"], int(line["step"]), float(line["loss"]), float(line["seconds"]))
            for line in csv.DictReader(file)
        ]
