"""A memory budget for the UNet: what there is, what a generation takes, and what to do when it was too little."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from math import ceil
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..contracts import Span
from ..engine.memory import MemoryPlan, Work, plan_memory, skip_bytes, workspaces
from ..engine.skips import HostSkips, Skips
from ..engine.split import Split
from ..errors import ConfigError, NotKnownError
from ..plan import guidance_at, spans_of
from .devices import amount, free_memory, host_room, is_here, is_out_of_memory, workspace_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..config import Config
    from ..denoiser import Conditional, Denoiser, Part
    from ..engine.unet import Engine
    from ..facts import ModelFacts

logger = logging.getLogger("longtake")

SMALLER = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)  # shares of a size that are tried when it does not fit


def work_of(config: Config, facts: ModelFacts) -> Work:
    """Return what one call of the UNet has to do for a resolved config."""
    assert config.frames and config.width and config.height and config.dtype, "the config is not resolved"
    rows, columns = config.height // facts.vae_factor, config.width // facts.vae_factor
    number, reused = getattr(torch, config.dtype).itemsize, 2 if (config.reuse or 1) > 1 else 0
    frames = frames_seen(config, facts)
    whole = config.attention is not None and config.attention.whole_frames(Span(frames=frames, trained=facts.trained))
    stored, branches = 1 if config.weights else None, 2 if _is_guided(config, facts) else 1
    return Work(facts.unet, frames, rows, columns, number, reused, stored, whole, branches)


def _is_guided(config: Config, facts: ModelFacts) -> bool:
    """Whether any step asks for both branches."""
    assert config.guidance and config.frames and config.steps, "the config is not resolved"
    spans = spans_of(Span(frames=config.frames, trained=facts.trained), config.steps)
    return any(bool((guidance_at(config.guidance, each) != 1).any()) for each in spans)


def frames_seen(config: Config, facts: ModelFacts) -> int:
    """Return how many frames one call of the UNet sees."""
    assert config.frames and config.context and config.sampling, "the config is not resolved"
    span = Span(frames=config.frames, trained=facts.trained)
    together = replace(span, frames=config.sampling.seen(span))
    windows = config.context.windows(together)
    return windows.size if windows else together.frames


def budget_for(config: Config, weights: int, *, weights_loaded: bool) -> int:
    """Return the bytes that a config allows, or that are free, weights that are on the device already included.

    Raises:
        NotKnownError: the device is not here.

    """
    assert config.device
    device = torch.device(config.device)
    if config.memory:
        return config.memory
    if not is_here(device):
        raise NotKnownError(f"how much memory is free on {device} is not known here; say how much there is: --memory")
    return free_memory(device) + (weights if weights_loaded else 0)


def fit_memory(config: Config, facts: ModelFacts, *, weights_loaded: bool = False) -> MemoryPlan:
    """Return how the UNet's work is split so that it fits the memory that the config allows, or that is free.

    Args:
        config: resolved.
        facts: of the model.
        weights_loaded: whether its weights are on the device already, and so no longer in what is free.

    Raises:
        ConfigError: it cannot fit; the message says what would.

    """
    assert config.device
    work, device = work_of(config, facts), torch.device(config.device)
    budget = budget_for(config, work.loaded, weights_loaded=weights_loaded)
    workspace, host = workspace_for(device), host_room(device)
    plan = plan_memory(work, budget, workspace, host)
    if plan is None:
        asked = f"--memory allows {amount(budget)}" if config.memory else f"{amount(budget)} are free on {device}"
        of_all = "" if work.frames == config.frames else f" at a time, of {config.frames},"
        raise ConfigError(
            f"{work.frames} frames{of_all} of {config.width}x{config.height} take at least "
            f"{amount(least_budget(work, host))}, but {asked}; what fits: "
            f"{_what_fits(work, budget, config, facts)}"
        )
    return plan


def least_budget(work: Work, host: int) -> int:
    """Return the bytes that the most frugal way takes, where the host has so many for skips."""
    return _most_frugal(work, host).peak


def _most_frugal(work: Work, host: int) -> MemoryPlan:
    """Return the plan with the least held, and chunks as small as that of one frame at full resolution has to be."""
    least, _ = workspaces(work)
    return MemoryPlan(work, 0, Split(workspace=least, keep=False), host_skips=work.frames * skip_bytes(work) <= host)


def _what_fits(work: Work, budget: int, config: Config, facts: ModelFacts) -> str:
    """Return what would fit: more of the memory that is free, fewer frames, a smaller size, or less precision."""
    device, factor = torch.device(config.device or "cpu"), facts.vae_factor
    workspace, host = workspace_for(device), host_room(device)

    def fits(**smaller: int) -> bool:
        return plan_memory(replace(work, **smaller), budget, workspace, host) is not None  # type: ignore[arg-type]

    found, low, high = [], 0, work.frames
    least = least_budget(work, host)
    if config.memory and is_here(device) and least <= free_memory(device):
        found.append(f"--memory {ceil(least / 2**20)}MiB, which is free")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(frames=middle) else (low, middle)
    if low >= 2:
        found.append(f"{low} frames of that size")
    for share in SMALLER:
        rows, columns = (max(8, round(side * share / 8) * 8) for side in (work.rows, work.columns))
        if fits(rows=rows, columns=columns):
            found.append(f"{work.frames} frames of {columns * factor}x{rows * factor}")
            break
    if work.number > 2 and fits(number=2):
        found.append("all of it with --dtype float16")
    if work.stored is None and fits(stored=1):
        found.append("all of it with --weights float8")
    if facts.trained < work.frames == config.frames and fits(frames=facts.trained):
        found.append(f"all of it in windows of {facts.trained} frames, with --context uniform")
    return "; ".join(found) or "nothing; free memory, or use another device"


def describe(plan: MemoryPlan) -> str:
    """Return a plan in a line."""
    where = f"in the host's memory ({amount(plan.on_host)})" if plan.host_skips else "on the device"
    how = "" if plan.split.keep else ", temporal convolutions worked out twice"
    how += ", both branches of guidance at once" if plan.split.videos > 1 else ""
    return (
        f"about {amount(plan.peak)} at the most: weights {amount(plan.work.weights)}, states {amount(plan.held)}, "
        f"chunks {amount(plan.chunk)}; skips {where}{how}"
    )


def apply_plan(engine: Engine, plan: MemoryPlan, device: torch.device) -> None:
    """Let an engine work as a plan says, compiled as it was before."""
    engine.split = replace(plan.split, compiled=engine.split.compiled)
    engine.make_skips = partial(HostSkips, device) if plan.host_skips else Skips


class Frugal:
    """Makes do with half the memory beside the weights, and half of that, when the device is out of it.

    Args:
        engine: that runs the UNet.
        plan: by which the engine works; replaced when it asks for too much.
        device: of the UNet.

    """

    def __init__(self, engine: Engine, plan: MemoryPlan, device: torch.device) -> None:
        self._engine = engine
        self._device = device
        self.plan = plan
        apply_plan(engine, plan, device)

    def __call__(self, call: Callable[[], Tensor], when: str) -> Tensor:
        """Return what a call of the UNet gives; nothing is lost when it has to be made again."""
        while True:
            try:
                return call()
            except (RuntimeError, MemoryError) as error:
                smaller = self._smaller() if is_out_of_memory(error) else None
                if smaller is None:
                    raise
            # Outside of the except block, so that nothing holds on to the tensors of the failed call.
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
            logger.warning("out of memory at %s; going on with %s", when, describe(smaller))
            self.plan = smaller
            apply_plan(self._engine, smaller, self._device)

    def _smaller(self) -> MemoryPlan | None:
        """Return a plan for half of what the last one takes beside the weights, or as near to it as there is one."""
        work, host = self.plan.work, host_room(self._device)
        workspace = self.plan.split.workspace or workspaces(work)[1]
        for share in (0.5, 0.75):
            budget = work.weights + int(share * (self.plan.peak - work.weights))
            plan = plan_memory(work, budget, workspace, host)
            if plan is not None:
                return plan
        frugal = _most_frugal(work, host)
        return frugal if (frugal.split, frugal.host_skips) != (self.plan.split, self.plan.host_skips) else None


class FrugalDenoiser:
    """A denoiser that makes do with less memory when the device is out of it.

    Args:
        denoiser: that is called; it may be replaced between calls.
        engine: that runs its UNet.
        plan: by which the engine works at first.
        device: of the UNet.

    """

    def __init__(self, denoiser: Denoiser, engine: Engine, plan: MemoryPlan, device: torch.device) -> None:
        self.denoiser = denoiser
        self._frugal = Frugal(engine, plan, device)

    def __call__(
        self, latents_BFCYX: Tensor, sigma: float, *, conditional: Conditional = True, part: Part | None = None
    ) -> Tensor:
        """Return x0 as the denoiser does."""
        return self._frugal(
            lambda: self.denoiser(latents_BFCYX, sigma, conditional=conditional, part=part), f"sigma {sigma:.4g}"
        )
