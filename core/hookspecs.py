"""The hooks of longtake, all on one page.

Four kinds: *offer* something to configs and to the command line, *decide* one part of a generation (the first result
counts), *watch or edit* a run, and *wrap* a decision (``hookimpl(wrapper=True)`` on a *decide* hook: caching, timing).
Hooks are called per run, step or chunk of frames, never inside attention. They grow by arguments; an implementation
may take fewer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import click
    import numpy as np
    from torch import Tensor

    from .contracts import Strategy
    from .denoiser import Denoiser
    from .run import Run, Step

PROJECT = "longtake"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def longtake_register_strategies(register: Callable[[type[Strategy]], None]) -> None:
    """Offer strategies to configs: call ``register(MyStrategy)`` once for each class."""


@hookspec
def longtake_register_commands(cli: click.Group) -> None:
    """Offer commands: decorate functions with ``@cli.command()``."""


@hookspec(firstresult=True)
def longtake_predict(step: Step, denoiser: Denoiser) -> Tensor | None:
    """Decide the denoised latents of one step, (B, F, C, Y, X); None leaves it to the next plugin.

    ``denoiser(latents, sigma)`` and ``denoiser(latents, sigma, conditional=False)`` call the UNet once each. Of a small
    model both are faster as one batch, where ``step.run`` is there and ``step.run.both_at_once`` is true:
    ``conditional`` is then a tensor that says of each video of the batch whether it sees the image.
    """


@hookspec
def longtake_run_started(run: Run) -> None:
    """Watch: the plan is made and the image encoded; nothing is denoised yet."""


@hookspec
def longtake_before_step(step: Step) -> None:
    """Edit: runs before the UNet sees ``step.latents``. Assign to ``step.latents`` to change them."""


@hookspec
def longtake_after_step(step: Step) -> None:
    """Edit: ``step.denoised`` is the prediction, ``step.latents`` what the next step begins with."""


@hookspec
def longtake_frames_decoded(run: Run, frames: np.ndarray, first: int) -> None:
    """Watch: ``frames`` (chunk, H, W, 3) in uint8 are decoded, the first of them is number ``first``."""


@hookspec
def longtake_run_finished(run: Run) -> None:
    """Watch: everything is decoded and written."""
