"""longtake: long videos from Stable Video Diffusion, without training.

Names are looked up when they are used, so that ``import longtake`` loads neither models nor diffusers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .core.apply import apply as apply
    from .core.apply import remove as remove
    from .core.conditioning import Conditioning as Conditioning
    from .core.conditioning import encode_images as encode_images
    from .core.config import Config as Config
    from .core.config import load_config as load_config
    from .core.config import read_config_file as read_config_file
    from .core.contracts import AttentionStrategy as AttentionStrategy
    from .core.contracts import ContextStrategy as ContextStrategy
    from .core.contracts import GuidanceSchedule as GuidanceSchedule
    from .core.contracts import MotionSchedule as MotionSchedule
    from .core.contracts import NoiseSchedule as NoiseSchedule
    from .core.contracts import PositionalStrategy as PositionalStrategy
    from .core.contracts import SamplingStrategy as SamplingStrategy
    from .core.contracts import SigmaSchedule as SigmaSchedule
    from .core.contracts import Span as Span
    from .core.contracts import Windows as Windows
    from .core.decoding.decode import decode as decode
    from .core.defaults import resolve as resolve
    from .core.denoiser import Denoiser as Denoiser
    from .core.denoiser import UnetDenoiser as UnetDenoiser
    from .core.denoiser import scalings as scalings
    from .core.errors import LongtakeError as LongtakeError
    from .core.facts import ModelFacts as ModelFacts
    from .core.facts import read_facts as read_facts
    from .core.files.video import open_video as open_video
    from .core.generate import Result as Result
    from .core.generate import generate as generate
    from .core.hookspecs import hookimpl as hookimpl
    from .core.loop import denoise as denoise
    from .core.manager import load_plugins as load_plugins
    from .core.model import Model as Model
    from .core.model import load_model as load_model
    from .core.plan import Plan as Plan
    from .core.plan import make_plan as make_plan
    from .core.run import Run as Run
    from .core.run import Step as Step
    from .core.seams import installed as installed

_HOMES = {
    "core.apply": ("apply", "remove"),
    "core.conditioning": ("Conditioning", "encode_images"),
    "core.config": ("Config", "load_config", "read_config_file"),
    "core.contracts": (
        "AttentionStrategy",
        "ContextStrategy",
        "GuidanceSchedule",
        "MotionSchedule",
        "NoiseSchedule",
        "PositionalStrategy",
        "SamplingStrategy",
        "SigmaSchedule",
        "Span",
        "Windows",
    ),
    "core.decoding.decode": ("decode",),
    "core.defaults": ("resolve",),
    "core.denoiser": ("Denoiser", "UnetDenoiser", "scalings"),
    "core.errors": ("LongtakeError",),
    "core.facts": ("ModelFacts", "read_facts"),
    "core.generate": ("Result", "generate"),
    "core.hookspecs": ("hookimpl",),
    "core.loop": ("denoise",),
    "core.manager": ("load_plugins",),
    "core.model": ("Model", "load_model"),
    "core.plan": ("Plan", "make_plan"),
    "core.run": ("Run", "Step"),
    "core.seams": ("installed",),
    "core.files.video": ("open_video",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME_OF)  # noqa: PLE0605  what TYPE_CHECKING imports; tests compare the two


def __getattr__(name: str) -> Any:
    """Import a public name, or a subpackage, when it is first asked for."""
    if name == "__version__":
        from importlib.metadata import version

        return version("longtake")
    if name in ("NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"):  # ComfyUI asks a node pack for these
        globals()["NODE_CLASS_MAPPINGS"], globals()["NODE_DISPLAY_NAME_MAPPINGS"] = _nodes()
        return globals()[name]
    if name not in _HOME_OF:
        raise AttributeError(f"module 'longtake' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def _nodes() -> Any:
    """Return the classes and names of ComfyUI's nodes.

    ComfyUI loads this folder under a name that it makes up. Plugins say ``import longtake``, and what they get must be
    the same classes as the nodes': so the folder is loaded as ``longtake`` too, unless there is one already.
    """
    import sys
    from importlib.util import module_from_spec, spec_from_file_location

    if "longtake" not in sys.modules:
        spec = spec_from_file_location("longtake", __file__)
        assert spec and spec.loader
        sys.modules["longtake"] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules["longtake"])
    return importlib.import_module("longtake.plugins.comfy.nodes").mappings()


def __dir__() -> list[str]:
    return [*globals(), *__all__]
