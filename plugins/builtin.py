"""All that is built in, offered through the same hook as anybody's plugin."""

from __future__ import annotations

import sys
from collections.abc import Callable

from ..core.contracts import Strategy
from ..core.hookspecs import hookimpl
from ..positional import circular, clamp, dynamic, grouped, linear, longrope, none, ntk, pingpong, riflex, yarn
from ..schedules import correlated, given, motion, noise, sigmas
from ..schedules import guidance as guidance_schedules
from . import finite, guidance, preview, reuse, timing
from .attention import decay, freenoise, full, local_global, looped, spectral, strided
from .authoring import commands as authoring
from .bench import commands as bench
from .context import looped as looped_context
from .context import predict, static, uniform, whole
from .proving import commands as proving
from .sampling import chain, freeinit, joint
from .sampling import commands as sampling

STRATEGIES: tuple[type[Strategy], ...] = (
    none.Unchanged,
    linear.Linear,
    ntk.Ntk,
    yarn.Yarn,
    riflex.Riflex,
    longrope.LongRope,
    pingpong.PingPong,
    circular.Circular,
    grouped.Grouped,
    clamp.Clamp,
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
    correlated.Mixed,
    correlated.Progressive,
    given.File,
    guidance_schedules.Linear,
    guidance_schedules.Constant,
    guidance_schedules.Triangle,
    guidance_schedules.Trapezoid,
    guidance_schedules.Keyframes,
    sigmas.Karras,
    sigmas.AlignYourSteps,
    motion.Constant,
    motion.Linear,
    motion.Compensated,
    motion.Keyframes,
    whole.Whole,
    static.Static,
    uniform.Uniform,
    looped_context.Looped,
    joint.Joint,
    chain.Chain,
    freeinit.FreeInit,
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
    "context": predict,
    "finite": finite,
    "preview": preview,
    "reuse": reuse,
    "timing": timing,
    "extend": sampling,
    "proving": proving,
    "bench": bench,
    "authoring": authoring,
}
