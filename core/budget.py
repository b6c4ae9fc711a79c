"""A memory budget for the UNet: what there is, what a generation takes, and what to do when it was too little."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .contracts import Span
from .engine.memory import MemoryPlan, Work, plan_memory, workspaces
from .engine.skips import HostSkips, Skips
from .engine.split import Split
from .errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .config import Config
    from .denoiser import Denoiser, Part
    from .engine.unet import Engine
    from .facts import ModelFacts

logger = logging.getLogger("longtake")

GIB = 2**30
# Beyond so much a chunk has no gain from being larger; on a CPU it even loses, because it leaves the cache.
WORKSPACE = {"cpu": 24 * 2**20}
WORKSPACE_ELSEWHERE = 2**30
OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "MPS backend out of memory")
SMALLER = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)  # shares of a size that are tried when it does not fit


def work_of(config: Config, facts: ModelFacts) -> Work:
    """Return what one call of the UNet has to do for a resolved config."""
    assert config.frames and config.width and config.height and config.dtype, "the config is not resolved"
    rows, columns = config.height // facts.vae_factor, config.width // facts.vae_factor
    number, reused = getattr(torch, config.dtype).itemsize, 2 if (config.reuse or 1) > 1 else 0
    frames = frames_seen(config, facts)
    whole = config.attention is not None and config.attention.whole_frames(Span(frames=frames, trained=facts.trained))
    return Work(facts.unet, frames, rows, columns, number, reused, 1 if config.weights else None, whole)


def frames_seen(config: Config, facts: ModelFacts) -> int:
    """Return how many frames one call of the UNet sees."""
    assert config.frames and config.context and config.sampling, "the config is not resolved"
    span = Span(frames=config.frames, trained=facts.trained)
    together = replace(span, frames=config.sampling.seen(span))
    windows = config.context.windows(together)
    return windows.size if windows else together.frames


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
    budget = config.memory or free_memory(device) + (work.weights if weights_loaded else 0)
    workspace = workspace_for(device)
    plan = plan_memory(work, budget, workspace)
    if plan is None:
        asked = f"--memory allows {amount(budget)}" if config.memory else f"{amount(budget)} are free on {device}"
        of_all = "" if work.frames == config.frames else f" at a time, of {config.frames},"
        raise ConfigError(
            f"{work.frames} frames{of_all} of {config.width}x{config.height} take at least "
            f"{amount(least_budget(work))}, but {asked}; what fits: "
            f"{_what_fits(work, budget, workspace, facts.vae_factor)}"
        )
    return plan


def workspace_for(device: torch.device) -> int:
    """Return the bytes that a chunk may take on a device where there is room."""
    return WORKSPACE.get(device.type, WORKSPACE_ELSEWHERE)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, or the system, had no memory left; only GPUs of NVIDIA and AMD have an error of their own."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in OUT_OF_MEMORY)


def free_memory(device: torch.device) -> int:
    """Return the bytes that are free on a device: of a CPU, those that the system could give."""
    if device.type == "cuda":
        used = torch.cuda.memory_allocated(device)
        free, total = torch.cuda.mem_get_info(device)
        free += torch.cuda.memory_reserved(device) - used
        # Of what the process may take at all; torch knows to tell since 2.7.
        share = getattr(torch.cuda, "get_per_process_memory_fraction", lambda _: 1.0)(device)
        return min(free, int(share * total) - used)
    import psutil

    return int(psutil.virtual_memory().available)


def least_budget(work: Work) -> int:
    """Return the bytes that the most frugal way takes."""
    return _most_frugal(work).peak


def _most_frugal(work: Work) -> MemoryPlan:
    """Return the plan with the least held, and chunks as small as that of one frame at full resolution has to be."""
    least, _ = workspaces(work)
    return MemoryPlan(work, 0, Split(workspace=least, keep=False), host_skips=True)


def _what_fits(work: Work, budget: int, workspace: int, factor: int) -> str:
    """Return what of it would fit: fewer frames, or a smaller size."""
    found, low, high = [], 0, work.frames
    while high - low > 1:
        middle = (low + high) // 2
        fits = plan_memory(replace(work, frames=middle), budget, workspace)
        low, high = (middle, high) if fits else (low, middle)
    if low >= 2:
        found.append(f"{low} frames of that size")
    for share in SMALLER:
        rows, columns = (max(8, round(side * share / 8) * 8) for side in (work.rows, work.columns))
        if plan_memory(replace(work, rows=rows, columns=columns), budget, workspace):
            found.append(f"{work.frames} frames of {columns * factor}x{rows * factor}")
            break
    if work.number > 2:
        found.append("perhaps more with --dtype float16")
    return "; ".join(found) or "nothing; free memory, or use another device"


def amount(size: int) -> str:
    """Return bytes as a person would say them."""
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size / 2**20:.0f} MiB"


def describe(plan: MemoryPlan) -> str:
    """Return a plan in a line."""
    where = "in the host's memory" if plan.host_skips else "on the device"
    twice = "" if plan.split.keep else ", temporal convolutions worked out twice"
    return (
        f"about {amount(plan.peak)} at the most: weights {amount(plan.work.weights)}, states {amount(plan.held)}, "
        f"chunks {amount(plan.split.workspace or 0)}; skips {where}{twice}"
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
            except RuntimeError as error:
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
        work, workspace = self.plan.work, self.plan.split.workspace or workspaces(self.plan.work)[1]
        for share in (0.5, 0.75):
            budget = work.weights + int(share * (self.plan.peak - work.weights))
            plan = plan_memory(work, budget, workspace)
            if plan is not None:
                return plan
        frugal = _most_frugal(work)
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
        self, latents_BFCYX: Tensor, sigma: float, *, conditional: bool = True, part: Part | None = None
    ) -> Tensor:
        """Return x0 as the denoiser does."""
        return self._frugal(
            lambda: self.denoiser(latents_BFCYX, sigma, conditional=conditional, part=part), f"sigma {sigma:.4g}"
        )
