"""The motion bucket of a long video: which one is chosen, and when it is too high to keep the video's speed."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

from .answers import check_number, check_values, seen_together
from .contracts import Span

if TYPE_CHECKING:
    from .config import Config
    from .contracts import MotionSchedule
    from .facts import ModelFacts

logger = logging.getLogger("longtake")

USUAL_BUCKET = 127.0  # of diffusers' pipeline


def usual_bucket(motion: MotionSchedule, facts: ModelFacts, span: Span) -> float:
    """Return the motion bucket for a request without one: diffusers' own, or the highest that keeps its speed."""
    bucket = min(USUAL_BUCKET, facts.top_bucket / 2, _highest_bucket(motion, facts, span))
    return float(math.floor(bucket)) if bucket >= 1 else bucket


def warn_if_too_fast(config: Config, facts: ModelFacts) -> None:
    """Warn if the motion bucket, as requested or as a schedule raises it, is beyond the trained ones."""
    motion, bucket = config.motion, config.motion_bucket
    if motion is None or bucket is None or config.frames is None:
        return
    span = Span(frames=config.frames, trained=facts.trained, progress=0.0)
    if config.sampling:
        span = Span(frames=seen_together(config.sampling, span), trained=facts.trained, progress=0.0)
    top, highest = facts.top_bucket, _highest_bucket(motion, facts, span)
    if bucket > highest and highest < top:
        logger.warning(
            "motion bucket %.4g is too high for %d frames: the stretch would raise it beyond the buckets that the "
            "model was trained on, so the video will be slower than requested; buckets up to %.4g keep their speed",
            *(bucket, span.frames, highest),
        )
        return
    buckets_F = check_values(motion, "buckets", motion.buckets(bucket, span), span.frames)
    if float(buckets_F.max()) > top:
        logger.warning(
            "motion bucket %.4g is beyond %.4g, the highest that the model was trained on: the motion may be wrong",
            *(float(buckets_F.max()), top),
        )


def _highest_bucket(motion: MotionSchedule, facts: ModelFacts, span: Span) -> float:
    return check_number(motion, "highest motion bucket", motion.highest_bucket(facts.top_bucket, span))
