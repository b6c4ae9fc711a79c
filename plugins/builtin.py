"""All that is built in, offered through the same hook as anybody's plugin."""

from __future__ import annotations

import sys
from collections.abc import Callable

from ..core.contracts import Strategy
from ..core.hookspecs import hookimpl
from ..positional import dynamic, linear, none, ntk, yarn
from ..schedules import guidance as guidance_schedules
from ..schedules import motion, noise, sigmas
from . import finite, guidance, preview, reuse, timing
from .attention import decay, freenoise, full, local_global, looped, spectral, strided
from .bench import commands as bench
from .proving import commands as proving

STRATEGIES: tuple[type[Strategy], ...] = (
    none.Unchanged,
    linear.Linear,
    ntk.Ntk,
    yarn.Yarn,
    dynamic.Dynamic,
    full.Full,
    freenoise.FreeNoiseWindows,
    looped.Looped,
    strided.Strided,
    local_global.LocalGlobal,
    decay.Decay,
    spectral.Spectral,
    noise.Independent,
    noise.FreeNoise,
    noise.Repeat,
    guidance_schedules.Linear,
    guidance_schedules.Constant,
    guidance_schedules.Triangle,
    sigmas.Karras,
    sigmas.AlignYourSteps,
    motion.Constant,
    motion.Linear,
    motion.Compensated,
)


@hookimpl
def longtake_register_strategies(register: Callable[[type[Strategy]], None]) -> None:
    """Offer every built-in strategy."""
    for cls in STRATEGIES:
        register(cls)


# Name → plugin, in the order in which they are registered.
PLUGINS: dict[str, object] = {
    "builtin": sys.modules[__name__],
    "guidance": guidance,
    "finite": finite,
    "preview": preview,
    "reuse": reuse,
    "timing": timing,
    "proving": proving,
    "bench": bench,
}
