"""What any attention strategy can be given: factors on queries, keys and values, and on the logits.

Shape suffixes: P = pixels, N = heads, F = frames, D = channels per head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .course import ONE, Course
from .errors import ConfigError

if TYPE_CHECKING:
    from .contracts import AttentionStrategy, Span

MODIFIERS = ("query_scale", "key_scale", "value_scale", "temperature")


def attend_modified(
    strategy: AttentionStrategy,
    q_PNFD: Tensor,
    k_PNFD: Tensor,
    v_PNFD: Tensor,
    span: Span,
    scale: float | None,
) -> Tensor:
    """Return what a strategy makes of queries, keys and values that its modifiers have been applied to, (P, N, F, D).

    Whatever is 1 is left alone, bit for bit.
    """
    temperature = _course(strategy, "temperature").at(span)
    if isinstance(temperature, Tensor):  # a query's factor on its logits is a factor on the query
        q_PNFD = times(q_PNFD, temperature)
    elif temperature != 1:
        scale = temperature * (q_PNFD.shape[-1] ** -0.5 if scale is None else scale)
    q_PNFD = _modified(q_PNFD, _course(strategy, "query_scale"), span)
    k_PNFD = _modified(k_PNFD, _course(strategy, "key_scale"), span)
    v_PNFD = _modified(v_PNFD, _course(strategy, "value_scale"), span)
    return strategy.attend(q_PNFD, k_PNFD, v_PNFD, span, scale)


def unmodified(strategy: AttentionStrategy, span: Span) -> bool:
    """Return whether all modifiers are 1 at the step of ``span``: the strategy alone decides."""
    factors = [_course(strategy, name).at(span) for name in MODIFIERS]
    return all(isinstance(factor, float) and factor == 1 for factor in factors)


def _course(strategy: AttentionStrategy, name: str) -> Course:
    """Return a modifier; an option of that name but of another type is the strategy's own affair."""
    course = getattr(strategy, name)
    return course if isinstance(course, Course) else ONE


def _modified(states_PNFD: Tensor, course: Course, span: Span) -> Tensor:
    factor = course.at(span)
    return states_PNFD if isinstance(factor, float) and factor == 1 else times(states_PNFD, factor)


def times(states_PNFD: Tensor, factor: float | Tensor) -> Tensor:
    """Return states times a factor, or times that of each frame, (F,); products are rounded to their dtype once."""
    if isinstance(factor, Tensor):  # in float32, as PyTorch multiplies by a number whatever the states' dtype
        exact = torch.promote_types(states_PNFD.dtype, torch.float32)
        return (states_PNFD * factor.to(states_PNFD.device, exact)[:, None]).to(states_PNFD.dtype)
    return states_PNFD * factor


def refuse_frames_of_windows(strategy: AttentionStrategy) -> None:
    """Refuse factors that change over the frames where each window counts from zero.

    Raises:
        ConfigError: there are such.

    """
    for name in over_frames(strategy):
        raise ConfigError(
            f"attention.{name} changes over the frames, but with local positions each window of "
            f"{strategy.name!r} counts from zero and does not know the frames of the video; give one number or "
            "{steps: [...]}, or windows with global positions"
        )


def over_frames(strategy: AttentionStrategy) -> list[str]:
    """Return which modifiers change over the frames."""
    return [name for name in MODIFIERS if _course(strategy, name).over == "frames"]
