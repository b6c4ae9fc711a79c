"""The table of the proving ground: every method at every length on the same held-out clips, resumable cell by cell.

A cell is one method at one length; it is finished when its file is there, so a run may be killed at any time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread, current_thread, main_thread
from zipfile import BadZipFile

import numpy as np

from ...core.errors import LongtakeError
from ...core.files.whole import make_folder, whole_file
from .cases import Case, Made, make
from .clips import KINDS
from .machine import commit
from .measures import score
from .method import Method
from .results import Row, make_row, write_row


@dataclass(frozen=True, slots=True)
class Cell:
    """One method at one length, with how it is generated.

    Attributes:
        method: of generating.
        frames: of each video.
        seeds: clips of each world.
        steps: of the denoising.
        model: name or folder.
        weights: what tells the model's weights from others of that name.

    """

    method: Method
    frames: int
    seeds: int
    steps: int
    model: str = "embedded"
    weights: str = ""

    @property
    def name(self) -> str:
        """Of its files: readable, and another for anything that would give other videos."""
        key = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:10]
        name = "".join(letter if letter.isalnum() else "-" for letter in self.method.name)
        return f"{self.frames:03d}-{self.seeds:02d}-{name}-{key}"

    @property
    def file(self) -> str:
        """The name of the file with its row; another where videos are measured otherwise."""
        return f"{self.name}-{measures_version()}.json"

    def cases(self) -> list[Case]:
        """Return its clips."""
        fast = self.method.fast
        return [Case(kind, seed, self.frames, fast) for seed in range(self.seeds) for kind in KINDS]


@cache
def measures_version() -> str:
    """Return what tells the measures, and the worlds that they know, from others."""
    here = Path(__file__).parent
    sources = [here / "measures.py", *sorted((here / "worlds").glob("*.py"))]
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:6]


def run_cells(cells: Iterable[Cell], folder: Path, workers: int, finished: Callable[[Cell], None]) -> None:
    """Work out every cell that has no file yet, several at a time, one thread each.

    Args:
        cells: of the table.
        folder: for the files of finished cells.
        workers: processes.
        finished: is told each cell as soon as its file is there, those of earlier runs too.

    Raises:
        LongtakeError: a worker was killed.

    """
    make_folder(folder)
    missing = []
    for cell in cells:
        if (folder / cell.file).exists():
            finished(cell)
        else:
            missing.append(cell)
    # The long ones first, so that no worker is left alone with one at the end.
    missing.sort(key=lambda cell: -cell.frames * cell.seeds)
    # Processes that start from nothing: a fork of one whose threads have already worked may wait for them for ever.
    with ProcessPoolExecutor(workers, get_context("spawn"), _begin_worker) as pool:
        with _deaf():
            running = {pool.submit(_write_cell, cell, folder): cell for cell in missing}
        try:
            for done in as_completed(running):
                done.result()
                finished(running[done])
        except BrokenProcessPool:
            raise LongtakeError(
                "a worker was ended from outside, perhaps for want of memory; run it again, with fewer --workers: "
                "finished cells are kept"
            ) from None
        finally:  # at Ctrl-C, say, what has not begun must not begin
            pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _deaf() -> Iterator[None]:
    """Let processes that are started here not hear Ctrl-C: until they are set up they could only answer at length."""
    if current_thread() is not main_thread():  # which alone may say what signals do
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _begin_worker() -> None:
    """Let a worker end without a word, at Ctrl-C and when the main process is gone, which says what there is to say."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    logging.getLogger("longtake").setLevel(logging.ERROR)  # clips are chosen, and asked for, knowingly

    def watch() -> None:
        main = parent_process()
        assert main
        main.join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def _write_cell(cell: Cell, folder: Path) -> None:
    import torch

    from ...core.cli.progress import silence_models

    torch.set_num_threads(1)
    silence_models()
    write_row(work_out(cell, folder), folder / cell.file)


def work_out(cell: Cell, folder: Path | None = None) -> Row:
    """Return the row of a cell; its videos are taken from the folder, or made and kept there."""
    path = folder / f"{cell.name}.npz" if folder else None
    kept = _kept(path) if path else None
    if kept:
        videos_NFHW3, borders = kept
    else:
        made = _make_videos(cell)
        borders = made[0].borders
        videos_NFHW3 = np.stack([np.rint(each.video_FHW3 * 255).clip(0, 255).astype(np.uint8) for each in made])
        if path:
            with whole_file(path) as part:
                np.savez_compressed(part, videos=videos_NFHW3, borders=np.array(borders, dtype=int))
    scored = [
        (case.kind, case.number, case.clip(), score(case.clip(), video_FHW3 / 255.0, borders))
        for case, video_FHW3 in zip(cell.cases(), videos_NFHW3, strict=True)
    ]
    steps = cell.method.options.get("steps", cell.steps)
    return make_row(cell.file, cell.method.name, cell.frames, steps, scored, commit())


def _kept(path: Path) -> tuple[np.ndarray, tuple[int, ...]] | None:
    """Return the videos of a cell and their borders, if they are there and can be read."""
    try:
        with path.open("rb") as file, np.load(file) as kept:
            return kept["videos"], tuple(kept["borders"].tolist())
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None


def _make_videos(cell: Cell) -> list[Made]:
    from ...core.manager import load_plugins
    from ...core.model import load_model

    model = load_model(cell.model, device="cpu", weights=cell.method.options.get("weights"))
    plugins = load_plugins(third_party=False)
    return [make(cell.method, case, cell.steps, model, plugins) for case in cell.cases()]
