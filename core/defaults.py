"""What a user has not said, chosen from the model and from the length asked for."""

from __future__ import annotations

import logging
import math
import secrets
from typing import TYPE_CHECKING, Any

from .budget import frames_decoded
from .config import Config
from .contracts import Span
from .errors import ConfigError
from .model import choose_device, choose_dtype

if TYPE_CHECKING:
    from .contracts import PositionalStrategy, Strategy
    from .facts import ModelFacts
    from .registry import Registry

logger = logging.getLogger("longtake")

USUAL_BUCKET = 127.0
# As stock SVD does it, where nothing is to be stretched.
SHORT = {
    "positional": "none",
    "attention": "full",
    "noise": "independent",
    "guidance": "linear",
    "sigmas": "karras",
    "motion": "constant",
}
# Interpolated positions keep the video coherent but slow its motion down; the motion bucket makes up for that.
LONG = SHORT | {"positional": "linear", "motion": "compensated"}

# Guidance costs a second call of the UNet in each of its steps, and decides most while the noise is high.
GUIDED_AT_FIRST = {"name": "linear", "stop": 0.5}
SPEEDS: dict[str, dict[str, Any]] = {
    "exact": {},
    "fast": {"sigmas": "ays", "guidance": GUIDED_AT_FIRST},
    "draft": {"sigmas": "ays", "guidance": GUIDED_AT_FIRST, "reuse": 3},
}


def resolve(config: Config, facts: ModelFacts, registry: Registry, *, portrait: bool = False) -> Config:
    """Return a config in which nothing is left to choose.

    Sizes are rounded to what the model needs, which is said as a warning of the logger ``longtake``.

    Args:
        config: as asked for.
        facts: of the model.
        registry: for the default strategies.
        portrait: whether the start image is higher than wide.

    Raises:
        ConfigError: the size is too small for the model.

    """
    frames = config.frames or facts.trained
    chosen: dict[str, Any] = {"frames": frames}
    defaults = (LONG if frames > facts.trained else SHORT) | {"reuse": 1} | SPEEDS[config.speed]
    chosen["reuse"] = config.reuse or defaults.pop("reuse")
    for kind, name in defaults.items():
        chosen[kind] = getattr(config, kind) or registry.build(kind, name)
    _say_if_idle(config, registry)
    if config.motion is None and chosen["motion"].name == "compensated":
        chosen["motion"] = _motion_for(chosen["positional"], registry)
    chosen["motion_bucket"] = (
        min(USUAL_BUCKET, facts.top_bucket / 2) if config.motion_bucket is None else config.motion_bucket
    )
    chosen["steps"] = config.steps or chosen["sigmas"].default_steps
    chosen["seed"] = secrets.randbelow(2**32) if config.seed is None else config.seed
    chosen["output_fps"] = config.output_fps or config.fps
    chosen["width"], chosen["height"] = _size(config, facts, portrait)
    device = choose_device(config.device)
    chosen["device"] = str(device)
    chosen["dtype"] = str(choose_dtype(config.dtype, device)).removeprefix("torch.")
    resolved = config.model_copy(update=chosen)
    _say_if_too_fast(resolved, facts)
    return resolved.model_copy(update={"decode_chunk": config.decode_chunk or frames_decoded(resolved, facts)})


def _say_if_idle(config: Config, registry: Registry) -> None:
    """Warn where a speed is asked for, but everything that it would choose is given, and is something else."""
    meant = {
        key: value if key == "reuse" else registry.build(key, value) for key, value in SPEEDS[config.speed].items()
    }
    if meant and all(getattr(config, key) not in (None, value) for key, value in meant.items()):
        logger.warning("speed %s changes nothing here: %s are given", config.speed, ", ".join(meant))


def _say_if_too_fast(config: Config, facts: ModelFacts) -> None:
    """Warn where the motion bucket would have to be raised beyond what the model knows: the video will be slower."""
    if config.motion is None or config.motion.name != "compensated" or config.frames is None:
        return
    span = Span(frames=config.frames, trained=facts.trained, progress=0.0)
    unlimited = config.motion.model_copy(update={"limit": math.inf})
    bucket = float(config.motion_bucket or 0)
    wanted = float(unlimited.buckets(bucket, span).max())
    known = min(getattr(config.motion, "limit", math.inf), facts.top_bucket)
    if wanted > max(known, bucket):
        logger.warning(
            "motion bucket %.4g would be raised to %.4g for %d frames, and the model knows up to %.4g: the video will"
            " be slower than asked for; a bucket of up to %.4g can be made up for",
            *(bucket, wanted, config.frames, known, known * bucket / wanted),
        )


def _motion_for(positional: PositionalStrategy, registry: Registry) -> Strategy:
    """Return what makes up for a positional strategy: nothing where nothing is stretched, else its own factor."""
    if positional.name == "none":
        return registry.build("motion", "constant")
    factor = getattr(positional, "factor", None)
    return registry.build("motion", {"name": "compensated", "factor": factor})


def _size(config: Config, facts: ModelFacts, portrait: bool) -> tuple[int, int]:
    native = facts.native_size(portrait=portrait)
    asked = (config.width, config.height)
    if config.width and not config.height:
        asked = (config.width, round(config.width * native[1] / native[0]))
    elif config.height and not config.width:
        asked = (round(config.height * native[0] / native[1]), config.height)
    wanted = (asked[0] or native[0], asked[1] or native[1])
    size = tuple(round(side / facts.vae_factor) * facts.vae_factor for side in wanted)
    if min(size) < facts.smallest:
        raise ConfigError(
            f"size {wanted[0]}x{wanted[1]} is too small for model {facts.name!r}: "
            f"it needs at least {facts.smallest}x{facts.smallest} and was trained at {native[0]}x{native[1]}"
        )
    if size != wanted:
        logger.warning("size %dx%d rounded to %dx%d: the model needs multiples of %d", *wanted, *size, facts.vae_factor)
    return size[0], size[1]
