"""The table of the proving ground: every method at every length on the same held-out clips, resumable cell by cell.

A cell is one method at one length; it is finished when its file is there, so a run may be killed at any time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import LongtakeError
from ...core.whole import whole_file
from .clips import HELD_OUT_SEED, KINDS, Clip, draw_clip
from .measures import Score, score
from .methods import Method
from .worlds.canvas import Array

if TYPE_CHECKING:
    from ...core.manager import Plugins
    from ...core.model import Model

TABLE_SEED = HELD_OUT_SEED + 10_000  # clips from here on are seen by nothing but tables
SLOWEST_BUCKET, FASTEST_BUCKET = 15.0, 40.0  # so that a motion bucket raised with the stretch is still a trained one


@dataclass(frozen=True, slots=True)
class Cell:
    """One method at one length, with how it is generated."""

    method: Method
    frames: int
    seeds: int
    steps: int

    @property
    def file(self) -> str:
        """The name of its file: readable, and another for anything that would give other numbers."""
        key = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:10]
        name = "".join(letter if letter.isalnum() else "-" for letter in self.method.name)
        return f"{self.frames:03d}-{name}-{key}.json"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The score of one clip in one cell."""

    kind: str
    seed: int
    score: Score


def table_clip(kind: str, seed: int) -> Clip:
    """Return the clip of a table: the same for every method, its speed spread evenly over the seeds."""
    share = (seed * 0.618033988749895) % 1.0
    bucket = SLOWEST_BUCKET + (FASTEST_BUCKET - SLOWEST_BUCKET) * share
    return draw_clip(TABLE_SEED + seed, kind, motion_bucket=bucket, fps=7.0)


def run_cells(cells: Iterable[Cell], folder: Path, model: str, workers: int, finished: Callable[[Cell], None]) -> None:
    """Work out every cell that has no file yet, several at a time, one thread each.

    Args:
        cells: of the table.
        folder: for the files of finished cells.
        model: name or folder of the model.
        workers: processes.
        finished: is told each cell as soon as its file is there, those of earlier runs too.

    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = []
    for cell in cells:
        if (folder / cell.file).exists():
            finished(cell)
        else:
            missing.append(cell)
    with ProcessPoolExecutor(workers) as pool:
        running = {pool.submit(_work_out, cell, folder, model): cell for cell in missing}
        for done in as_completed(running):
            done.result()
            finished(running[done])


def _work_out(cell: Cell, folder: Path, model: str) -> None:
    import torch

    from ...core.manager import load_plugins
    from ...core.model import load_model
    from ...core.progress import silence_models

    torch.set_num_threads(1)
    silence_models()
    loaded, plugins = load_model(model, device="cpu"), load_plugins(third_party=False)
    outcomes = [
        Outcome(kind, seed, score(clip, generate_case(cell, clip, seed, loaded, plugins)))
        for seed in range(cell.seeds)
        for kind in KINDS
        for clip in [table_clip(kind, seed)]
    ]
    data = {"cell": asdict(cell), "outcomes": [asdict(outcome) for outcome in outcomes]}
    with whole_file(folder / cell.file) as part:
        part.write_text(json.dumps(data), encoding="utf-8")


def read_cell(cell: Cell, folder: Path) -> list[Outcome]:
    """Return the outcomes of a finished cell.

    Raises:
        LongtakeError: it is not finished, or its file is no such thing.

    """
    path = folder / cell.file
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return [
            Outcome(each["kind"], each["seed"], Score(**each["score"] | {"quarters": tuple(each["score"]["quarters"])}))
            for each in data["outcomes"]
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LongtakeError(f"cell {path} cannot be read: {error}; run the table again") from None


def generate_case(cell: Cell, clip: Clip, seed: int, model: Model, plugins: Plugins) -> Array:
    """Return the video that a method makes of a clip, (F, H, W, 3) in [0, 1]."""
    if cell.method.special == "still":
        return np.repeat(clip.render(1), cell.frames, axis=0)
    if cell.method.special == "truth":
        return _through_the_vae(clip.render(cell.frames), model)
    if cell.method.special == "chain":
        return _chained(cell, clip, seed, model, plugins)
    return _generated(clip.render(1)[0], cell.frames, cell, clip, seed, model, plugins)


def _generated(
    first_HW3: Array, frames: int, cell: Cell, clip: Clip, seed: int, model: Model, plugins: Plugins
) -> Array:
    from ...core.generate import generate

    options: dict[str, Any] = {
        "frames": frames,
        "steps": cell.steps,
        "seed": seed,
        "motion_bucket": clip.motion_bucket,
        "fps": clip.fps,
    }
    image = np.rint(first_HW3 * 255).clip(0, 255).astype(np.uint8)
    result = generate(image, model=model, plugins=plugins, **options | cell.method.options)
    assert result.frames is not None
    return result.frames / 255.0


def _chained(cell: Cell, clip: Clip, seed: int, model: Model, plugins: Plugins) -> Array:
    """Make the trained number of frames again and again, each time from the last frame: what people do by hand."""
    video_FHW3 = clip.render(1)
    while len(video_FHW3) < cell.frames:
        grown_FHW3 = _generated(video_FHW3[-1], model.facts.trained, cell, clip, seed, model, plugins)
        video_FHW3 = np.concatenate([video_FHW3[:-1], grown_FHW3])
    return video_FHW3[: cell.frames]


def _through_the_vae(video_FHW3: Array, model: Model) -> Array:
    import torch

    from ...core.decode import decode

    vae = model.pipeline.vae
    frames_FCHW = torch.from_numpy(video_FHW3).permute(0, 3, 1, 2).to(vae.dtype) * 2 - 1
    with torch.no_grad():
        latents_FCYX = vae.encode(frames_FCHW).latent_dist.mode() * vae.config.scaling_factor
    return np.concatenate(list(decode(model, latents_FCYX))) / 255.0
