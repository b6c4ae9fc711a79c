"""What the command line shows while it works: a user of the hooks that watch a run."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

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

from .hookspecs import hookimpl
from .run import Run, Step

if TYPE_CHECKING:
    from rich.console import Console

    from .generate import Result


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
        self.bars.stop()

    @hookimpl
    def longtake_run_started(self, run: Run) -> None:
        """Say what will be made."""
        config, facts = run.config, run.model.facts
        times = f"{run.plan.frames / facts.trained:.3g} x the {facts.trained} that {facts.name} was trained on"
        self.bars.console.print(
            f"{run.plan.frames} frames ({times}), {config.width}x{config.height}, {run.plan.steps} steps, "
            f"seed {config.seed}, {config.dtype} on {config.device}"
        ) if not self.bars.disable else None
        self.bars.update(self.load, completed=1)
        self.bars.update(self.denoise, total=run.plan.steps, visible=True)
        self.bars.reset(self.denoise)

    @hookimpl
    def longtake_after_step(self, step: Step) -> None:
        """Move the bar."""
        self.bars.update(self.denoise, completed=step.index + 1)

    @hookimpl
    def longtake_frames_decoded(self, run: Run, frames: np.ndarray, first: int) -> None:
        """Move the bar."""
        self.bars.update(self.decode, total=run.plan.frames, completed=first + len(frames), visible=True)

    def report(self, result: Result, sidecar: Path) -> None:
        """Say what was made, in what time, and where its record lies."""
        seconds = result.timings
        config = result.config
        assert config.frames and config.output_fps
        self.console.print(
            f"{config.frames / config.output_fps:.1f} s of video at {config.output_fps:g} frames per second; "
            f"denoised in {seconds['denoise']:.1f} s ({seconds['median step']:.2f} s a step), "
            f"decoded in {seconds['decode']:.1f} s\nhow to make it again: {sidecar}",
            soft_wrap=True,
        )


def silence_libraries() -> None:
    """Keep the loading messages of diffusers and transformers off the screen; downloads still show their bars."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    warnings.filterwarnings("ignore", module=r"(diffusers|transformers)\.")
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
