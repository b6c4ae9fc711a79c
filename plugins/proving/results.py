"""What is kept of a table: for each method and length a row with the measures of every clip."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import LongtakeError
from ...core.files.whole import whole_file
from .clips import Clip
from .measures import Score


@dataclass(frozen=True, slots=True)
class Column:
    """One number of a score.

    Attributes:
        take: it from a score; None where it means nothing for the clip.
        unit: of the number.
        better: where a good video has it: "high", "low" or "1".
        meaning: in a sentence.
        yes_or_no: whether it is 1 or 0 for a clip.

    """

    take: Callable[[Score], float | None]
    unit: str
    better: str
    meaning: str
    yes_or_no: bool = False


COLUMNS: dict[str, Column] = {
    "valid": Column(
        lambda score: float(score.valid),
        "share",
        "high",
        "everything there in every frame and nothing else, within 2 pixels of the truth, at 0.75 to 1.33 of the speed, "
        "moving on in every quarter, neither frozen nor jumping, colours and sharpness kept",
        yes_or_no=True,
    ),
    "error": Column(lambda score: score.error, "pixels", "low", "mean distance from the truth"),
    "speed": Column(lambda score: score.speed, "share", "1", "realised over asked speed"),
    "valid, own speed": Column(
        lambda score: float(score.valid_slowed),
        "share",
        "high",
        "as valid, against the truth at the video's own speed, which must be 0.15 of the one asked for or more",
        yes_or_no=True,
    ),
    "unevenness": Column(
        lambda score: score.unevenness,
        "share",
        "low",
        "mean distance from the truth at the video's own speed, over the way that it goes; none where it hardly moves",
    ),
    **{
        f"motion {number + 1}": Column(
            lambda score, quarter=number: score.quarters[quarter],  # type: ignore[misc]
            "share",
            "1",
            f"motion in quarter {number + 1} of the video over what was asked for",
        )
        for number in range(4)
    },
    "retreat": Column(lambda score: score.retreat, "share", "low", "share of the way that is gone back at the end"),
    "repetition": Column(
        lambda score: score.repetition, "share", "low", "frames behind the farthest so far by a tenth of the way"
    ),
    "frozen": Column(
        lambda score: score.frozen,
        "share",
        "low",
        "steps with less than a quarter of the video's own speed, or of a tenth of the one asked for",
    ),
    "jump": Column(lambda score: score.jump, "times", "low", "largest step over the usual step"),
    "seam": Column(
        lambda score: score.seam, "times", "1", "mean step at the borders of windows or chunks over the usual step"
    ),
    "jerk": Column(
        lambda score: score.jerk, "pixels/frame³", "low", "root mean square of the third difference of the path"
    ),
    "identity": Column(
        lambda score: score.identity[3],
        "of [0, 1]",
        "low",
        "error of the colours of what stands out, in the last quarter",
    ),
    "background": Column(
        lambda score: score.background[3], "of [0, 1]", "low", "error of the colours behind it, in the last quarter"
    ),
    "stray": Column(
        lambda score: score.stray, "of [0, 1]", "low", "the same of the patch and quarter of a video where it is most"
    ),
    "flash": Column(
        lambda score: score.flash, "of [0, 1]", "low", "error of the colours of the frame where it is most"
    ),
    "sharpness": Column(
        lambda score: score.sharpness[3], "share", "1", "gradients in the last quarter over those of the truth"
    ),
    "there": Column(lambda score: score.persistence, "share", "high", "frames in which everything is there"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One method at one length, on a number of clips.

    Attributes:
        cell: the name of the file that it is kept in; it tells the row from others of the same method and length.
        method: its name.
        frames: of each video.
        steps: of the denoising.
        kinds: the world of each clip.
        seeds: of each clip.
        columns: by title of a column, its number for each clip.
        curves: for each world how far it has moved in each frame over the speed asked for, the mean over the clips;
            in the truth this is the number of the frame.
        commit: of the code that made it; empty in rows from before this was kept.

    """

    cell: str
    method: str
    frames: int
    steps: int
    kinds: list[str]
    seeds: list[int]
    columns: dict[str, list[float | None]]
    curves: dict[str, list[float]]
    commit: str = ""


def make_row(
    cell: str, method: str, frames: int, steps: int, cases: Sequence[tuple[str, int, Clip, Score]], commit: str = ""
) -> Row:
    """Return the row of these cases: world, seed, clip and score."""
    curves = {
        kind: np.mean([np.array(score.path) / clip.speed for of, _, clip, score in cases if of == kind], axis=0)
        for kind in dict.fromkeys(case[0] for case in cases)
    }
    return Row(
        cell,
        method,
        frames,
        steps,
        kinds=[case[0] for case in cases],
        seeds=[case[1] for case in cases],
        columns={title: [_short(column.take(case[3])) for case in cases] for title, column in COLUMNS.items()},
        curves={kind: [round(float(value), 2) for value in curve_F] for kind, curve_F in curves.items()},
        commit=commit,
    )


def _short(value: float | None) -> float | None:
    """Keep four digits: clips differ by more."""
    return None if value is None else float(f"{value:.4g}")


def write_row(row: Row, path: Path) -> None:
    """Write a row as a file of its own, which has its name only when it is whole."""
    with whole_file(path) as part:
        part.write_text(json.dumps(asdict(row)), encoding="utf-8")


def read_row(path: Path) -> Row:
    """Return a row that was written.

    Raises:
        LongtakeError: it is not there, or it is no such thing.

    """
    try:
        return Row(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise LongtakeError(f"cell {path} cannot be read: {error}; remove it and run the table again") from None


def write_results(rows: Sequence[Row], about: dict[str, Any], path: Path) -> None:
    """Write all rows, one on a line, with what is to be known about the run."""
    lines = ",\n".join(json.dumps(asdict(row), separators=(",", ":")) for row in rows)
    with whole_file(path) as part:
        part.write_text(f'{{"about": {json.dumps(about)},\n"rows": [\n{lines}\n]}}\n', encoding="utf-8")


def read_results(path: Path) -> tuple[list[Row], dict[str, Any]]:
    """Return the rows, and what is to be known about the run.

    Raises:
        LongtakeError: it is not there, or it is no such thing.

    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return [Row(**row) for row in data["rows"]], dict(data["about"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise LongtakeError(f"{path} holds no results of a table: {error}") from None
