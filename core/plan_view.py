"""A plan for people: tables in the terminal, a picture, and plain data."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from .budget import describe
from .config import STRATEGY_KINDS
from .picture import save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.console import Console

    from .config import Config
    from .contracts import Windows
    from .engine.memory import MemoryPlan
    from .plan import Plan


def as_data(plan: Plan, config: Config, memory: MemoryPlan | str, seconds_S: list[float]) -> dict[str, Any]:
    """Return the plan as plain lists and numbers; ``memory`` may be the reason why it does not fit."""
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
        "memory": {"does_not_fit": memory} if isinstance(memory, str) else _memory_data(memory),
        "seconds": seconds_S,
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
        "convolutions_twice": not memory.split.keep,
    }


def print_tables(
    plan: Plan, config: Config, memory: MemoryPlan | str, seconds_S: list[float], console: Console
) -> None:
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
    for choice in _choices(config):
        console.print("  " + choice, markup=False, soft_wrap=True)
    note = memory if isinstance(memory, str) else f"memory for denoising on {config.device}: {describe(memory)}"
    console.print(note, markup=False, soft_wrap=True)
    console.print(f"time for denoising on {config.device}: {_described(seconds_S)}", markup=False, soft_wrap=True)
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


def _described(seconds_S: list[float]) -> str:
    """Return the time of all steps, and of the shortest and the longest one."""
    least, most = _duration(min(seconds_S)), _duration(max(seconds_S))
    each = least if least == most else f"{least} to {most}"
    return f"roughly {_duration(sum(seconds_S))}, {each} a step"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.2g} h"


def _choices(config: Config) -> list[str]:
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


def draw(plan: Plan, config: Config, path: Path) -> None:
    """Draw the plan as eight panels into a picture file; it appears only when whole.

    Raises:
        OutputError: the file cannot be written, or its ending is none that can be drawn.

    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(16, 7), layout="constrained")
    step = round(plan.span.progress * (plan.steps - 1))
    figure.suptitle(f"{plan.frames} frames from a model trained on {plan.span.trained}; as of step {step + 1}")
    panels = figure.subplots(2, 4).flat
    painters = (_positions, _frequencies, _attention, _noise, _guidance, _motion, _sigmas)
    for panel, paint in zip(panels, painters, strict=False):
        paint(panel, plan, step)
    panels[7].axis("off")
    panels[7].text(0, 1, "\n".join(_choices(config)), va="top", family="monospace", size=8, wrap=True)
    save_figure(figure, path)


def _positions(panel: Axes, plan: Plan, step: int) -> None:
    panel.axhspan(0, plan.span.trained, color="tab:green", alpha=0.12, label="trained positions")
    panel.plot(plan.positions_F, ".-", markersize=3)
    local = plan.windows is not None and plan.windows.local_positions
    panel.set(title=f"position of each frame{' of a window' if local else ''}", xlabel="frame", ylabel="position")
    panel.legend(loc="upper left", frameon=False)


def _frequencies(panel: Axes, plan: Plan, step: int) -> None:
    rotations_K = plan.span.trained * plan.trained_K / (2 * math.pi)
    panel.axhspan(1, max(plan.span.stretch, 1), color="tab:green", alpha=0.12, label="1 … stretch")
    panel.semilogx(rotations_K, plan.trained_K / plan.frequencies_K)
    panel.set(
        title=f"frequencies; logits x {plan.temperature:.3g}",
        xlabel="rotations over the trained frames",
        ylabel="divided by",
    )
    panel.legend(loc="upper right", frameon=False)


def _attention(panel: Axes, plan: Plan, step: int) -> None:
    if plan.windows is not None:
        for weights_F in plan.windows.weights_WF:
            panel.plot(weights_F.where(weights_F > 0, float("nan")))
        where = "local" if plan.windows.local_positions else "global"
        panel.set(
            title=f"windows and their weights, {where} positions", xlabel="frame", ylabel="weight", ylim=(0, 1.05)
        )
    else:
        seen_FF = [[1.0]] if plan.mask_FF is None else plan.mask_FF.float()
        edges = (-0.5, plan.frames - 0.5)
        panel.imshow(seen_FF, extent=(*edges, *edges[::-1]), cmap="Blues", vmin=0, interpolation="nearest")
        panel.set(title="which frame sees which", xlabel="seen frame", ylabel="frame")


def _noise(panel: Axes, plan: Plan, step: int) -> None:
    panel.scatter(range(plan.frames), plan.noise_sources_F, c=plan.noise_sources_F, s=8, cmap="viridis")
    panel.set(title="noise that each frame starts from", xlabel="frame", ylabel="fresh noise")


def _guidance(panel: Axes, plan: Plan, step: int) -> None:
    panel.plot(plan.guidance_SF[step])
    panel.set(title="guidance over the frames", xlabel="frame", ylabel="scale")


def _motion(panel: Axes, plan: Plan, step: int) -> None:
    panel.plot(plan.buckets_SF[step])
    panel.set(title="motion bucket (blue) and fps (orange)", xlabel="frame", ylabel="motion bucket")
    panel.set_ylim(bottom=0)
    rates = panel.twinx()
    rates.plot(plan.rates_SF[step], "--", color="tab:orange")
    rates.set(ylabel="fps")
    rates.set_ylim(bottom=0)


def _sigmas(panel: Axes, plan: Plan, step: int) -> None:
    panel.semilogy(range(1, plan.steps + 1), plan.sigmas_S1[:-1], ".-")
    panel.axvline(step + 1, color="tab:gray", linewidth=0.8)
    panel.set(title="noise level of each step, then 0", xlabel="step", ylabel="sigma")
