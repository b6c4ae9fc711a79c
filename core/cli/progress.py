"""What the command line shows while it works: a user of the hooks that watch a run."""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

import numpy as np
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from ..errors import printable_lines
from ..hookspecs import hookimpl
from ..run import Run, Step

if TYPE_CHECKING:
    from rich.console import Console

    from ..generate import Result


class ProgressDisplay:
    """Bars for loading, denoising and decoding, with the time that is left."""

    def __init__(self, console: Console, *, visible: bool) -> None:
        self.console = console
        self.bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<8}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not visible,
        )
        self.load = self.bars.add_task("load", total=1)
        self.denoise = self.bars.add_task("denoise", total=None, visible=False)
        self.decode = self.bars.add_task("decode", total=None, visible=False)

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.bars.stop()
            return
        self.bars.live.transient = True  # a bar that stands still would be taken for one that goes on
        self.bars.live.stop()  # `self.bars.stop` prints an empty line if there is no terminal

    @hookimpl
    def longtake_run_started(self, run: Run) -> None:
        """Say what will be made."""
        config, facts = run.config, run.model.facts
        name = printable_lines(facts.name)
        times = f"{run.plan.frames / facts.trained:.3g} x the {facts.trained} that {name} was trained on"
        if not self.bars.disable:
            self.bars.console.print(
                f"{run.plan.frames} frames ({times}), {config.width}x{config.height}, {run.plan.steps} steps, "
                f"motion bucket {config.motion_bucket:g}, seed {config.seed}, {config.dtype} on {config.device}",
                soft_wrap=True,
                markup=False,
            )
        self.bars.update(self.load, completed=1)
        assert config.sampling
        span = run.plan.span
        calls = round(config.sampling.frames_denoised(span) / config.sampling.seen(span))
        self.bars.reset(self.denoise, total=calls * run.plan.steps, visible=True)

    @hookimpl
    def longtake_after_step(self, step: Step) -> None:
        """Move the bar."""
        self.bars.advance(self.denoise)

    @hookimpl
    def longtake_frames_decoded(self, run: Run, frames: np.ndarray, first: int) -> None:
        """Move the bar."""
        self.bars.update(self.decode, total=run.plan.frames, completed=first + len(frames), visible=True)

    def report(self, result: Result, sidecar: Path) -> None:
        """Say what was made, in what time, and where its record lies."""
        seconds = result.timings
        config = result.config
        assert config.output_fps
        self.console.print(
            f"{result.length / config.output_fps:.1f} s of video at {config.output_fps:g} frames per second; "
            f"denoised in {seconds['denoise']:.1f} s ({seconds['median step']:.2f} s a step), "
            f"decoded in {seconds['decode']:.1f} s\nhow to make it again: {printable_lines(str(sidecar))}",
            soft_wrap=True,
            markup=False,
        )


class _Notes(logging.StreamHandler[TextIO]):
    """Prints notes; names in them cannot command a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a note as it is shown."""
        return f"note: {printable_lines(record.getMessage())}"


class _Once(logging.Filter):
    """Lets each note pass once: a search makes many videos, and each says the same."""

    def __init__(self) -> None:
        super().__init__()
        self.said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        said = record.getMessage()
        is_new = said not in self.said
        self.said.add(said)
        return is_new


def show_notes() -> None:
    """Print what longtake itself has to say, such as that a size was rounded: each note once."""
    handler = _Notes()
    handler.addFilter(_Once())
    logger = logging.getLogger("longtake")
    logger.handlers, logger.propagate = [handler], False


def silence_libraries() -> None:
    """Keep warnings of libraries off the screen: what goes wrong is said in longtake's own words."""
    os.environ.setdefault("HF_HUB_VERBOSITY", "critical")  # it sets its own level when it is imported
    warnings.filterwarnings("ignore", module=r"(diffusers|transformers|huggingface_hub|PIL)\.")
    for library in ("huggingface_hub", "diffusers", "transformers"):
        logging.getLogger(library).setLevel(logging.CRITICAL)


def silence_models() -> None:
    """Keep the loading bars of diffusers and transformers off the screen; downloads still show theirs."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    for library in (diffusers_logging, transformers_logging):
        library.set_verbosity(logging.CRITICAL)
        library.disable_progress_bar()
