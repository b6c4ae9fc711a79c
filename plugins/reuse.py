"""Reuse of deep features in most steps: ``--reuse N``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.engine.reuse import Reuse, works_everything_out
from ..core.hookspecs import hookimpl

if TYPE_CHECKING:
    from ..core.run import Step


@hookimpl
def longtake_before_step(step: Step) -> None:
    """In every n-th step let the UNet work everything out; the last step is never left to old features."""
    engine = step.run.engine if step.run else None
    if step.run is None or engine is None or step.run.config.reuse == 1:
        return
    if engine.reuse is None:
        engine.reuse = Reuse()
    if works_everything_out(step.index, step.count, step.run.config.reuse):
        engine.reuse.forget()
