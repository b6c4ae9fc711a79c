"""How long the steps of a generation will take, before any is made."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from ..engine.cost import Rate, count, measure_rate
from ..engine.reuse import works_everything_out
from .denoising import work_of

if TYPE_CHECKING:
    from ..config import Config
    from ..facts import ModelFacts
    from ..plan import Plan


def step_seconds(plan: Plan, config: Config, facts: ModelFacts, rate: Rate | None = None) -> list[float]:
    """Return the seconds that each step will take, roughly; encoding and decoding are not in it.

    Args:
        plan: of the generation.
        config: resolved.
        facts: of the model.
        rate: of the device; by default it is measured, which takes a moment.

    """
    assert config.device and config.dtype and config.context and config.sampling
    work = work_of(config, facts)
    rate = rate or measure_rate(work, torch.device(config.device), getattr(torch, config.dtype))
    whole, shallow = (rate.seconds(count(work, shallow=reused)) for reused in (False, True))
    # A video that is seen in windows, or denoised chunk by chunk, takes as many calls for a step.
    assert config.frames
    span = replace(plan.span, frames=config.frames)
    calls_a_step = config.sampling.frames_denoised(span) / config.sampling.seen(span)
    seconds = []
    for step in range(plan.steps):
        windows = config.context.windows(replace(plan.span_at(step), frames=config.sampling.seen(span)))
        calls = calls_a_step * (len(windows.starts) if windows else 1)
        calls *= 1 if bool((plan.guidance_SF[step] == 1).all()) else 2
        seconds.append(calls * (whole if works_everything_out(step, plan.steps, config.reuse) else shallow))
    return seconds
