"""Where the time of the denoising goes: the first step, which warms up, and the median of the others."""

from __future__ import annotations

import statistics
import time
from collections.abc import Generator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..core.hookspecs import hookimpl

if TYPE_CHECKING:
    from ..core.run import Step


@hookimpl(wrapper=True)
def longtake_predict(step: Step) -> Generator[None, Tensor, Tensor]:
    """Time whatever decides the step."""
    begin = _now(step.latents)
    denoised_BFCYX = yield
    if step.run:
        step.run.timings[f"step {step.index + 1}"] = _now(step.latents) - begin
    return denoised_BFCYX


@hookimpl
def longtake_after_step(step: Step) -> None:
    """Sum the steps up after the last."""
    if step.run and step.index == step.count - 1:
        timings = step.run.timings
        seconds = [timings.pop(f"step {index + 1}") for index in range(step.count)]
        timings["first step"] = seconds[0]
        timings["median step"] = statistics.median(seconds[1:] or seconds)


def _now(latents: Tensor) -> float:
    """Return the time once the device has done what it was told."""
    if latents.is_cuda:
        torch.cuda.synchronize(latents.device)
    return time.perf_counter()
