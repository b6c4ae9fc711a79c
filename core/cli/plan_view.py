"""A plan as plain data, and what it takes of the machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self, TypeVar

import torch

from ..budget.decoding import fit_decoding
from ..budget.denoising import fit_memory
from ..budget.devices import HOST_ELSEWHERE, is_here
from ..budget.pace import step_seconds
from ..config import STRATEGY_KINDS
from ..errors import ConfigError, NotKnownError

if TYPE_CHECKING:
    from ..config import Config
    from ..contracts import Windows
    from ..engine.decode_memory import DecodePlan
    from ..engine.memory import MemoryPlan
    from ..facts import ModelFacts
    from ..plan import Plan

Fit = TypeVar("Fit")


@dataclass(frozen=True, slots=True)
class Needs:
    """What a generation takes of the machine.

    Attributes:
        memory: for denoising, or why it does not fit, or why that is not known: a plan may be looked at where it could
            not be run.
        decoding: likewise.
        seconds_S: of each step; none where the device is not here.
        host: bytes of the host's memory that are taken to be free, where the device is not here; else None.

    """

    memory: MemoryPlan | ConfigError
    decoding: DecodePlan | ConfigError
    seconds_S: list[float]
    host: int | None = None

    @classmethod
    def of(cls, plan: Plan, config: Config, facts: ModelFacts) -> Self:
        """Work it out."""

        def fitted(fit: Callable[[Config, ModelFacts], Fit]) -> Fit | ConfigError:
            try:
                return fit(config, facts)
            except ConfigError as error:
                return error

        here = is_here(torch.device(config.device or "cpu"))
        seconds_S = step_seconds(plan, config, facts) if here else []
        return cls(fitted(fit_memory), fitted(fit_decoding), seconds_S, None if here else HOST_ELSEWHERE)


def as_data(plan: Plan, config: Config, needs: Needs) -> dict[str, Any]:
    """Return the plan as plain lists and numbers."""
    windows = plan.windows
    calls = context_windows(plan, config)
    return {
        "frames": plan.frames,
        "frames_of_the_video": config.frames,
        "chunks": chunk_starts(plan, config),
        "context": calls and {"size": calls.size, "starts": list(calls.starts)},
        "trained": plan.span.trained,
        "stretch": plan.span.stretch,
        "shown_step": round(plan.span.progress * (plan.steps - 1)) + 1,
        "positions": plan.positions_F.tolist(),
        "trained_frequencies": plan.trained_K.tolist(),
        "frequencies": plan.frequencies_K.tolist(),
        "temperature": plan.temperature,
        "windows": windows
        and {
            "size": windows.size,
            "starts": list(windows.starts),
            "local_positions": windows.local_positions,
            "ring": windows.ring,
            "weights": windows.weights_WF.tolist(),
        },
        "mask": None if plan.mask_FF is None else plan.mask_FF.tolist(),
        "noise_sources": plan.noise_sources_F.tolist(),
        "sigmas": plan.sigmas_S1.tolist(),
        "guidance": plan.guidance_SF.tolist(),
        "motion_buckets": plan.buckets_SF.tolist(),
        "fps": plan.rates_SF.tolist(),
        "memory": _refusal(needs.memory) if isinstance(needs.memory, ConfigError) else _memory_data(needs.memory),
        "decoding": (
            _refusal(needs.decoding) if isinstance(needs.decoding, ConfigError) else _decoding_data(needs.decoding)
        ),
        "seconds": needs.seconds_S or None,
        "config": config.dump(),
    } | ({} if needs.host is None else {"host_memory_assumed": needs.host})


def chunk_starts(plan: Plan, config: Config) -> list[int]:
    """Return the first frames of what is denoised together."""
    assert config.sampling and config.frames
    return list(config.sampling.starts(replace(plan.span, frames=config.frames, places=None, whole=None)))


def context_windows(plan: Plan, config: Config) -> Windows | None:
    """Return the windows of the shown step that are calls of the UNet of their own, if there are such."""
    return config.context.windows(plan.span) if config.context else None


def _refusal(error: ConfigError) -> dict[str, str]:
    return {"not_known" if isinstance(error, NotKnownError) else "does_not_fit": str(error)}


def _memory_data(memory: MemoryPlan) -> dict[str, Any]:
    return {
        "budget": memory.budget,
        "peak": memory.peak,
        "weights": memory.work.weights,
        "states": memory.held,
        "workspace": memory.chunk,
        "host_skips": memory.host_skips,
        "on_host": memory.on_host,
        "convolutions_twice": not memory.split.keep,
        "branches_at_once": memory.split.videos,
    }


def _decoding_data(decoding: DecodePlan) -> dict[str, Any]:
    return {
        "peak": decoding.peak,
        "weights": decoding.work.weights,
        "states": decoding.held,
        "workspace": decoding.at_work,
        "chunk": decoding.chunk,
        "together": decoding.together,
        "times": decoding.times,
        "on_host": decoding.on_host,
        "convolutions_twice": not decoding.keep,
    }


def choices(config: Config) -> list[str]:
    """Return a line for each kind of strategy: which one, and the options that differ from its defaults."""
    lines = []
    for kind in STRATEGY_KINDS:
        strategy = getattr(config, kind)
        options = strategy.model_dump(exclude_defaults=True)
        lines.append(f"{kind:<11}{strategy.name:<12}" + ", ".join(f"{key}={value}" for key, value in options.items()))
    return lines
