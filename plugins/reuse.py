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
    if engine is None or step.run is None or step.run.config.reuse == 1:
        return
    if engine.reuse is None:
        engine.reuse = Reuse()
    if step.index % step.run.config.reuse == 0 or step.index == step.count - 1:
        engine.reuse.forget()
