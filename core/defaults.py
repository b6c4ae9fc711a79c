"""What a user has not said, chosen from the model and from the length asked for."""

from __future__ import annotations

import logging
import math
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .answers import seen_together
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
SHORT: dict[str, Any] = {
    "positional": "none",
    "attention": "full",
    "noise": "independent",
    "guidance": "linear",
    "sigmas": "karras",
    "motion": "constant",
    "context": "whole",
    "sampling": "joint",
}
# Interpolated positions keep the video coherent but slow its motion down; the motion bucket makes up for that.
LONG = SHORT | {"positional": "linear", "motion": "compensated"}
# After the last frame comes the first: in positions and in attention. Noise that is independent closes as it is.
RING = SHORT | {"positional": "circular", "attention": {"name": "looped", "positions": "global"}}

# Guidance costs a second call of the UNet in each of its steps, and decides most while the noise is high.
GUIDED_AT_FIRST = {"name": "linear", "stop": 0.5}
SPEEDS: dict[str, dict[str, Any]] = {
    "exact": {},
    "fast": {"sigmas": "ays", "guidance": GUIDED_AT_FIRST},
    "draft": {"sigmas": "ays", "guidance": GUIDED_AT_FIRST, "reuse": 3},
}


def resolve(
    config: Config, facts: ModelFacts, registry: Registry, *, portrait: bool = False, elsewhere: bool = False
) -> Config:
    """Return a config in which nothing is left to choose but how many frames are decoded at a time.

    Sizes are rounded to what the model needs, which is said as a warning of the logger ``longtake``.

    Args:
        config: as asked for.
        facts: of the model.
        registry: for the default strategies.
        portrait: whether the start image is higher than wide.
        elsewhere: whether this is for another machine, so that the device need not be here.

    Raises:
        ConfigError: the size is too small for the model.

    """
    frames = config.frames or facts.trained
    chosen: dict[str, Any] = {"frames": frames}
    defaults = _usual(config, frames, facts) | {"reuse": 1} | SPEEDS[config.speed]
    if config.loop:  # guidance that rises over the frames would leave a step from the last to the first
        defaults["guidance"] = {"name": "constant"} | ({} if config.speed == "exact" else {"stop": 0.5})
    usual_reuse = defaults.pop("reuse")
    for kind, name in defaults.items():
        chosen[kind] = getattr(config, kind) or registry.build(kind, name)
    chosen["reuse"] = config.reuse or (usual_reuse if chosen["context"].name == "whole" else 1)
    _say_if_idle(config, registry)
    if config.motion is None and chosen["motion"].name == "compensated":
        chosen["motion"] = _motion_for(chosen["positional"], registry)
    chosen["motion_bucket"] = (
        min(USUAL_BUCKET, facts.top_bucket / 2) if config.motion_bucket is None else config.motion_bucket
    )
    chosen["steps"] = config.steps or chosen["sigmas"].default_steps
    chosen["seed"] = secrets.randbelow(2**32) if config.seed is None else config.seed
    chosen["trained"] = facts.trained if facts.guessed else config.trained
    chosen["output_fps"] = config.output_fps or config.fps
    chosen["width"], chosen["height"] = _size(config, facts, portrait)
    device = choose_device(config.device, elsewhere=elsewhere)
    chosen["device"] = str(device)
    chosen["dtype"] = str(choose_dtype(config.dtype, device)).removeprefix("torch.")
    resolved = config.model_copy(update=chosen)
    say_if_too_fast(resolved, facts)
    _check_together(resolved, facts)
    return resolved


def _usual(config: Config, frames: int, facts: ModelFacts) -> dict[str, Any]:
    """Return what is usual for a loop, or for as many frames as the UNet is asked about, as a video or part of one."""
    span = Span(frames=frames, trained=facts.trained)
    if config.loop:
        if frames <= facts.trained:
            raise ConfigError(
                f"a loop needs more frames than the {facts.trained} that {facts.name} was trained on, got {frames}; "
                f"ask for {facts.trained + 1} or more"
            )
        return RING
    if config.sampling:
        span = replace(span, frames=seen_together(config.sampling, span))
    elif config.continues:
        return SHORT | {"sampling": "chain"}
    windows = config.context.windows(span) if config.context else None
    asked = windows.size if windows and windows.local_positions else span.frames
    return LONG if asked > facts.trained else SHORT


def _check_together(config: Config, facts: ModelFacts) -> None:
    """Refuse what means nothing together.

    Raises:
        ConfigError: with what was asked for, and what to do.

    """
    assert config.frames and config.context and config.sampling and config.reuse
    span = Span(frames=config.frames, trained=facts.trained)
    together = seen_together(config.sampling, span)
    windows = config.context.windows(replace(span, frames=together))
    if windows and config.reuse > 1:
        raise ConfigError(
            f"reuse={config.reuse} takes features of an earlier step, but context {config.context.name!r} has windows "
            f"that may be elsewhere then; leave one of them out"
        )
    if config.continues:
        shared = config.sampling.shared(span)
        if not shared:
            raise ConfigError(f"sampling {config.sampling.name!r} cannot continue a video; name chain, or none")
        if config.frames <= shared:
            raise ConfigError(
                f"{config.frames} frames are asked for, of which the first {shared} are the last of the video that is "
                f"continued; ask for more"
            )
    if config.loop and config.continues:
        raise ConfigError("a video that continues another one does not end where that begins; leave loop out")
    if config.end_image and windows and getattr(config.context, "image", "start") != "start":
        raise ConfigError(
            f"context.image={getattr(config.context, 'image', None)!r} takes the place of the images that frames see, "
            f"the end image too; leave one of them out"
        )
    if config.loop and together < config.frames:
        raise ConfigError(
            f"a loop closes only where all frames are denoised together, which sampling {config.sampling.name!r} does "
            f"not; leave one of them out"
        )
    if config.loop and config.end_image:
        raise ConfigError("a loop ends where it begins, so it has no end image; leave one of them out")
    if config.end_frames is not None and config.end_image is None:
        raise ConfigError(f"end_frames={config.end_frames} is how long an end image comes in; name one as end_image")
    if config.end_frames is not None and config.end_frames > config.frames:
        raise ConfigError(f"end_frames={config.end_frames} is more than the {config.frames} frames of the video")


def _say_if_idle(config: Config, registry: Registry) -> None:
    """Warn where a speed is asked for, but everything that it would choose is given, and is something else."""
    meant = {
        key: value if key == "reuse" else registry.build(key, value) for key, value in SPEEDS[config.speed].items()
    }
    if meant and all(getattr(config, key) not in (None, value) for key, value in meant.items()):
        logger.warning("speed %s changes nothing here: %s are given", config.speed, ", ".join(meant))


def say_if_too_fast(config: Config, facts: ModelFacts) -> None:
    """Warn where the motion bucket is higher than what the model knows, or would have to be raised beyond that."""
    if config.motion is None or config.frames is None:
        return
    if config.motion_bucket is not None and config.motion_bucket > facts.top_bucket:
        logger.warning(
            "motion bucket %.4g is higher than %.4g, the highest that the model knows: expect no more motion than that",
            *(config.motion_bucket, facts.top_bucket),
        )
        return
    if config.motion.name != "compensated":
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
    """Return what makes up for a positional strategy: nothing where nothing slows down, else its own factor."""
    if not positional.slows():
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
