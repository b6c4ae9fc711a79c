"""What longtake chooses where a ComfyUI user has not, from the frames asked for and those that the model knows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...core.config import Config
from ...core.contracts import MotionSchedule, Span
from ...core.defaults import resolve
from ...core.facts import PUBLISHED, ModelFacts, read_facts
from ...core.registry import Registry

BUCKET = "motion_bucket_id"


def facts_for(trained: int) -> ModelFacts:
    """Return the facts of the published SVD that was trained on so many frames, or of one like it."""
    name = next((name for name, frames in PUBLISHED.items() if frames == trained), "stable-video-diffusion")
    return replace(read_facts(next(iter(PUBLISHED))), name=name, trained=trained)


def asked(
    registry: Registry, frames: int, trained: int, positive: Any = None, *, loop: bool = False, **chosen: Any
) -> Config:
    """Return a config in which nothing is left to choose.

    Args:
        registry: for the default strategies.
        frames: of the latents.
        trained: frames that the model was trained on.
        positive: conditioning, which knows the motion bucket, if there is any.
        loop: whether the video is to end where it begins.
        chosen: further fields of the config; None is left to longtake.

    Raises:
        ConfigError: it cannot be, such as a loop of few frames.

    """
    told = positive[0][1] if positive else {}
    config = Config(frames=frames, motion_bucket=told.get(BUCKET), loop=loop, device="cpu", **({"seed": 0} | chosen))
    return resolve(config, facts_for(trained), registry)


def conditioned(conditioning: Any, motion: MotionSchedule, span: Span) -> Any:
    """Return ComfyUI's conditioning with the motion bucket and frame rate that a schedule gives the first frame."""
    return [[embedding, dict(told) | _motion(told, motion, span)] for embedding, told in conditioning]


def _motion(told: dict[str, Any], motion: MotionSchedule, span: Span) -> dict[str, float]:
    moved = {}
    if BUCKET in told:
        moved[BUCKET] = float(motion.buckets(told[BUCKET], span)[0])
    if "fps" in told:
        moved["fps"] = float(motion.rates(told["fps"], span)[0])
    return {key: value for key, value in moved.items() if value != told[key]}
