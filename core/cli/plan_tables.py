"""A plan as tables in the terminal."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from rich.table import Table

from ..budget.decoding import describe_decoding
from ..budget.denoising import describe
from ..budget.devices import amount
from ..errors import ConfigError, NotKnownError
from .plan_view import choices, chunk_starts, context_windows

if TYPE_CHECKING:
    from rich.console import Console

    from ..config import Config
    from ..plan import Plan
    from .plan_view import Needs

ROWS = 60  # of a table; of more, only some are shown


def print_tables(plan: Plan, config: Config, needs: Needs, console: Console) -> None:
    """Print what happens over the video, to its frames, in its windows, and over the steps."""
    step = round(plan.span.progress * (plan.steps - 1))
    console.print(
        f"[bold]{plan.frames} frames[/], {plan.span.stretch:.3g} x the {plan.span.trained} trained ones; "
        f"{plan.steps} steps; shown as of step {step + 1}"
    )
    if plan.frames != config.frames:
        starts = chunk_starts(plan, config)
        console.print(
            f"the first of {len(starts)} chunks of a video of {config.frames} frames, one after another, from frame "
            f"{', '.join(map(str, starts))}",
            soft_wrap=True,
        )
    calls = context_windows(plan, config)
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


def _shown(rows: int) -> tuple[list[int], str]:
    """Return the rows of a table that are shown, all or one in so many and the last, and what its title says of it."""
    if rows <= ROWS:
        return list(range(rows)), ""
    rounded = (digit * 10**power for power in count() for digit in (1, 2, 5))
    every = next(each for each in rounded if each * ROWS >= rows)
    return sorted({*range(0, rows, every), rows - 1}), f", one in {every} of {rows} and the last (--json tells all)"


def _print_needs(needs: Needs, config: Config, console: Console) -> None:
    memory, decoding = needs.memory, needs.decoding
    shown = {
        f"memory for denoising on {config.device}": memory if isinstance(memory, ConfigError) else describe(memory),
        "memory for decoding": decoding if isinstance(decoding, ConfigError) else describe_decoding(decoding),
    }
    for name, described in shown.items():
        if isinstance(described, NotKnownError):
            console.print(f"{name}: not known, as {described}", markup=False, soft_wrap=True, style="yellow")
        elif isinstance(described, ConfigError):
            console.print(f"does not fit: {described}", markup=False, soft_wrap=True, style="red")
        else:
            console.print(f"{name}: {described}", markup=False, soft_wrap=True)
    if needs.host is not None:
        console.print(
            f"memory of the host: taken to be {amount(needs.host)} free, as this machine has no {config.device}",
            markup=False,
            soft_wrap=True,
        )
    console.print(f"time for denoising on {config.device}: {_described(needs.seconds_S)}", markup=False, soft_wrap=True)


def _described(seconds_S: list[float]) -> str:
    """Return the time of all steps, and of the shortest and the longest one."""
    if not seconds_S:
        return "not known, as it is not here"
    least, most = _duration(min(seconds_S)), _duration(max(seconds_S))
    each = least if least == most else f"{least} to {most}"
    return f"roughly {_duration(sum(seconds_S))}, {each} a step"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.2g} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.2g} h" if hours < 72 else f"{hours / 24:.0f} days"


def _frame_table(plan: Plan, step: int) -> Table:
    frames, said = _shown(plan.frames)
    table = Table(title=f"frames{said}", title_justify="left")
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
    for frame in frames:
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
    numbers, said = _shown(len(plan.windows.starts))
    title = f"attention windows of {plan.windows.size} frames{ring}; {places}{said}"
    table = Table(title=title, title_justify="left")
    for title in ("window", "first frame", "last frame", "shared with the one before"):
        table.add_column(title, justify="right")
    starts, size = plan.windows.starts, plan.windows.size
    for number in numbers:
        start = starts[number]
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
    steps, said = _shown(plan.steps)
    table = Table(title=f"steps{said}", title_justify="left")
    for title in ("step", "sigma from", "to", "guidance", "motion bucket"):
        table.add_column(title, justify="right")
    for step in steps:
        guidance_F, buckets_F = plan.guidance_SF[step], plan.buckets_SF[step]
        table.add_row(
            str(step + 1),
            f"{plan.sigmas_S1[step]:.4g}",
            f"{plan.sigmas_S1[step + 1]:.4g}",
            f"{guidance_F.min():.3g} … {guidance_F.max():.3g}",
            f"{buckets_F.min():.4g} … {buckets_F.max():.4g}",
        )
    return table
