"""A plan for people: tables in the terminal, and plain data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self, TypeVar

import torch
from rich.table import Table

from .budget import describe, fit_memory
from .config import STRATEGY_KINDS
from .decode_budget import describe_decoding, fit_decoding
from .devices import HOST_ELSEWHERE, amount, is_here
from .errors import ConfigError
from .pace import step_seconds

if TYPE_CHECKING:
    from rich.console import Console

    from .config import Config
    from .contracts import Windows
    from .engine.decode_memory import DecodePlan
    from .engine.memory import MemoryPlan
    from .facts import ModelFacts
    from .plan import Plan

Fit = TypeVar("Fit")


@dataclass(frozen=True, slots=True)
class Needs:
    """What a generation takes of the machine.

    Attributes:
        memory: for denoising, or the reason why it does not fit: a plan may be looked at where it could not be run.
        decoding: likewise.
        seconds_S: of each step; none where the device is not here.

    """

    memory: MemoryPlan | str
    decoding: DecodePlan | str
    seconds_S: list[float]

    @classmethod
    def of(cls, plan: Plan, config: Config, facts: ModelFacts) -> Self:
        """Work it out."""

        def fitted(fit: Callable[[Config, ModelFacts], Fit]) -> Fit | str:
            try:
                return fit(config, facts)
            except ConfigError as error:
                return str(error)

        here = is_here(torch.device(config.device or "cpu"))
        seconds_S = step_seconds(plan, config, facts) if here else []
        return cls(fitted(fit_memory), fitted(fit_decoding), seconds_S)


def as_data(plan: Plan, config: Config, needs: Needs) -> dict[str, Any]:
    """Return the plan as plain lists and numbers."""
    windows = plan.windows
    calls = _context(plan, config)
    return {
        "frames": plan.frames,
        "frames_of_the_video": config.frames,
        "chunks": _chunks(plan, config),
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
        "memory": {"does_not_fit": needs.memory} if isinstance(needs.memory, str) else _memory_data(needs.memory),
        "decoding": (
            {"does_not_fit": needs.decoding} if isinstance(needs.decoding, str) else _decoding_data(needs.decoding)
        ),
        "seconds": needs.seconds_S or None,
        "config": config.dump(),
    }


def _chunks(plan: Plan, config: Config) -> list[int]:
    """Return the first frames of what is denoised together."""
    assert config.sampling and config.frames
    return list(config.sampling.starts(replace(plan.span, frames=config.frames, places=None, whole=None)))


def _context(plan: Plan, config: Config) -> Windows | None:
    """Return the windows of the shown step that are calls of the UNet of their own, if there are such."""
    return config.context.windows(plan.span) if config.context else None


def _memory_data(memory: MemoryPlan) -> dict[str, Any]:
    return {
        "budget": memory.budget,
        "peak": memory.peak,
        "weights": memory.work.weights,
        "states": memory.held,
        "workspace": memory.split.workspace,
        "host_skips": memory.host_skips,
        "on_host": memory.on_host,
        "convolutions_twice": not memory.split.keep,
    }


def _decoding_data(decoding: DecodePlan) -> dict[str, Any]:
    return {
        "peak": decoding.peak,
        "weights": decoding.work.weights,
        "states": decoding.held,
        "workspace": decoding.workspace,
        "chunk": decoding.chunk,
        "together": decoding.together,
        "on_host": decoding.on_host,
        "convolutions_twice": not decoding.keep,
    }


def print_tables(plan: Plan, config: Config, needs: Needs, console: Console) -> None:
    """Print what happens over the video, to its frames, in its windows, and over the steps."""
    step = round(plan.span.progress * (plan.steps - 1))
    console.print(
        f"[bold]{plan.frames} frames[/], {plan.span.stretch:.3g} x the {plan.span.trained} trained ones; "
        f"{plan.steps} steps; shown as of step {step + 1}"
    )
    if plan.frames != config.frames:
        starts = _chunks(plan, config)
        console.print(
            f"the first of {len(starts)} chunks of a video of {config.frames} frames, one after another, from frame "
            f"{', '.join(map(str, starts))}",
            soft_wrap=True,
        )
    calls = _context(plan, config)
    if calls:
        console.print(
            f"the UNet sees {len(calls.starts)} windows of {calls.size} frames, one after another, from frame "
            f"{', '.join(map(str, calls.starts))}; what it says of them is fused in every step",
            soft_wrap=True,
        )
    for choice in choices(config):
        console.print("  " + choice, markup=False, soft_wrap=True)
    _print_needs(needs, config, console)
    ratios_K = plan.trained_K / plan.frequencies_K
    if bool((ratios_K != 1).any()) or plan.temperature != 1:
        between = f", {ratios_K.max():.3g} between" if ratios_K.max() > ratios_K[[0, -1]].max() else ""
        console.print(
            f"frequencies divided by {ratios_K[0]:.3g} (fastest) to {ratios_K[-1]:.3g} (slowest){between}; "
            f"temporal logits times {plan.temperature:.4g}"
        )
    console.print(_frame_table(plan, step))
    console.print(_window_table(plan) if plan.windows else _sight(plan))
    console.print(_step_table(plan))


def _print_needs(needs: Needs, config: Config, console: Console) -> None:
    memory, decoding = needs.memory, needs.decoding
    notes = (
        memory if isinstance(memory, str) else f"memory for denoising on {config.device}: {describe(memory)}",
        f"time for denoising on {config.device}: {_described(needs.seconds_S)}",
        decoding if isinstance(decoding, str) else f"memory for decoding: {describe_decoding(decoding)}",
    )
    for note in notes:
        console.print(note, markup=False, soft_wrap=True)


def _described(seconds_S: list[float]) -> str:
    """Return the time of all steps, and of the shortest and the longest one."""
    if not seconds_S:
        return f"not known, as it is not here; its host is taken to have {amount(HOST_ELSEWHERE)} free"
    least, most = _duration(min(seconds_S)), _duration(max(seconds_S))
    each = least if least == most else f"{least} to {most}"
    return f"roughly {_duration(sum(seconds_S))}, {each} a step"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.2g} h"


def choices(config: Config) -> list[str]:
    """Return a line for each kind of strategy: which one, and the options that differ from its defaults."""
    lines = []
    for kind in STRATEGY_KINDS:
        strategy = getattr(config, kind)
        options = strategy.model_dump(exclude_defaults=True)
        lines.append(f"{kind:<11}{strategy.name:<12}" + ", ".join(f"{key}={value}" for key, value in options.items()))
    return lines


def _frame_table(plan: Plan, step: int) -> Table:
    table = Table(title="frames", title_justify="left")
    local = plan.windows is not None and plan.windows.local_positions
    for title in (
        "frame",
        "in its window" if local else "position",
        "noise of",
        "windows (weight)",
        "guidance",
        "motion bucket",
        "fps",
    ):
        table.add_column(title, justify="right")
    for frame in range(plan.frames):
        table.add_row(
            str(frame),
            f"{plan.positions_F[frame]:.3f}" if frame < len(plan.positions_F) else "",
            str(int(plan.noise_sources_F[frame])),
            _windows_over(plan, frame),
            f"{plan.guidance_SF[step, frame]:.3f}",
            f"{plan.buckets_SF[step, frame]:.1f}",
            f"{plan.rates_SF[step, frame]:.2f}",
        )
    return table


def _windows_over(plan: Plan, frame: int) -> str:
    if plan.windows is None:
        return "all"
    weights_W = plan.windows.weights_WF[:, frame]
    return ", ".join(f"{window} ({weights_W[window]:.2f})" for window in weights_W.nonzero().flatten().tolist())


def _window_table(plan: Plan) -> Table:
    assert plan.windows
    places = "each counts from zero" if plan.windows.local_positions else "frames keep their place in the video"
    ring = ", closed into a ring" if plan.windows.ring else ""
    table = Table(title=f"attention windows of {plan.windows.size} frames{ring}; {places}", title_justify="left")
    for title in ("window", "first frame", "last frame", "shared with the one before"):
        table.add_column(title, justify="right")
    starts, size = plan.windows.starts, plan.windows.size
    for number, start in enumerate(starts):
        last, shared = start + size - 1, str(starts[number - 1] + size - start) if number else ""
        if plan.windows.ring:  # the last window comes before the first one
            last, shared = last % plan.frames, str(size - (start - starts[number - 1]) % plan.frames)
        table.add_row(str(number), str(start), str(last), shared)
    return table


def _sight(plan: Plan) -> str:
    if plan.mask_FF is None:
        return "attention: every frame sees every frame"
    seen_F = (plan.mask_FF if plan.mask_FF.dtype.is_floating_point is False else plan.mask_FF.isfinite()).sum(dim=1)
    return f"attention: each frame sees {int(seen_F.min())} to {int(seen_F.max())} of {plan.frames} frames"


def _step_table(plan: Plan) -> Table:
    table = Table(title="steps", title_justify="left")
    for title in ("step", "sigma from", "to", "guidance", "motion bucket"):
        table.add_column(title, justify="right")
    for step in range(plan.steps):
        guidance_F, buckets_F = plan.guidance_SF[step], plan.buckets_SF[step]
        table.add_row(
            str(step + 1),
            f"{plan.sigmas_S1[step]:.4g}",
            f"{plan.sigmas_S1[step + 1]:.4g}",
            f"{guidance_F.min():.3g} … {guidance_F.max():.3g}",
            f"{buckets_F.min():.4g} … {buckets_F.max():.4g}",
        )
    return table
