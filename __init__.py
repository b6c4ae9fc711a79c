"""longtake: long videos from Stable Video Diffusion, without training.

Names are looked up when they are used, so that ``import longtake`` loads neither models nor diffusers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .core.conditioning import Conditioning, encode_images
    from .core.config import Config, load_config, read_config_file
    from .core.contracts import (
        AttentionStrategy,
        GuidanceSchedule,
        MotionSchedule,
        NoiseSchedule,
        PositionalStrategy,
        SigmaSchedule,
        Span,
        Windows,
    )
    from .core.decode import decode
    from .core.defaults import resolve
    from .core.denoiser import Denoiser, UnetDenoiser, scalings
    from .core.errors import LongtakeError
    from .core.generate import Result, generate
    from .core.hookspecs import hookimpl
    from .core.manager import load_plugins
    from .core.model import Model, ModelFacts, load_model, read_facts
    from .core.plan import Plan, make_plan
    from .core.loop import denoise
    from .core.run import Run, Step
    from .core.seams import installed
    from .core.video import open_video

_HOMES = {
    "core.conditioning": ("Conditioning", "encode_images"),
    "core.config": ("Config", "load_config", "read_config_file"),
    "core.contracts": (
        "AttentionStrategy",
        "GuidanceSchedule",
        "MotionSchedule",
        "NoiseSchedule",
        "PositionalStrategy",
        "SigmaSchedule",
        "Span",
        "Windows",
    ),
    "core.decode": ("decode",),
    "core.defaults": ("resolve",),
    "core.denoiser": ("Denoiser", "UnetDenoiser", "scalings"),
    "core.errors": ("LongtakeError",),
    "core.generate": ("Result", "generate"),
    "core.hookspecs": ("hookimpl",),
    "core.loop": ("denoise",),
    "core.manager": ("load_plugins",),
    "core.model": ("Model", "ModelFacts", "load_model", "read_facts"),
    "core.plan": ("Plan", "make_plan"),
    "core.run": ("Run", "Step"),
    "core.seams": ("installed",),
    "core.video": ("open_video",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    """Import a public name, or a subpackage, when it is first asked for."""
    if name == "__version__":
        from importlib.metadata import version

        return version("longtake")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'longtake' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
