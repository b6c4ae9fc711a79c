"""Fields that hold a strategy: given as an object, as a name, or as a mapping with a name and options."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, ValidationInfo

from .contracts import (
    AttentionStrategy,
    ContextStrategy,
    GuidanceSchedule,
    MotionSchedule,
    NoiseSchedule,
    PositionalStrategy,
    SamplingStrategy,
    SigmaSchedule,
    Strategy,
)
from .errors import shortened


def _build(kind: str, value: Any, info: ValidationInfo) -> Any:
    """Turn a name, or a mapping with a name and options, into the strategy that the registry knows."""
    if value is None or isinstance(value, Strategy):
        return value
    if not isinstance(value, str | dict):
        raise ValueError(f"should be a name, or a mapping with a name and options, got {shortened(value)}")
    if not info.context:
        raise ValueError(
            f"{shortened(value)} names a strategy; load it with load_config(..., registry) or pass an object"
        )
    return info.context["registry"].build(kind, value)


def _by_name(kind: str) -> tuple[BeforeValidator, PlainSerializer]:
    return (
        BeforeValidator(lambda value, info: _build(kind, value, info)),
        PlainSerializer(lambda strategy: None if strategy is None else strategy.dump()),
    )


Positional = Annotated[PositionalStrategy, *_by_name("positional")]
Attention = Annotated[AttentionStrategy, *_by_name("attention")]
Noise = Annotated[NoiseSchedule, *_by_name("noise")]
Guidance = Annotated[GuidanceSchedule, *_by_name("guidance")]
Sigmas = Annotated[SigmaSchedule, *_by_name("sigmas")]
Motion = Annotated[MotionSchedule, *_by_name("motion")]
Context = Annotated[ContextStrategy, *_by_name("context")]
Sampling = Annotated[SamplingStrategy, *_by_name("sampling")]
