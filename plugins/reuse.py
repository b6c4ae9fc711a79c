"""Reuse of deep features in most steps: ``--reuse N``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.engine.reuse import Reuse
from ..core.hookspecs import hookimpl

if TYPE_CHECKING:
    from ..core.run import Step


@hookimpl
def longtake_before_step(step: Step) -> None:
    """In every n-th step let the UNet work everything out; the last step is never left to old features."""
    engine = step.run.engine if step.run else None
    every = (step.run.config.reuse if step.run else None) or 1
    if engine is None or every == 1:
        return
    if engine.reuse is None:
        engine.reuse = Reuse()
    if step.index % every == 0 or step.index == step.count - 1:
        engine.reuse.forget()
