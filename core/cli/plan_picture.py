"""A plan as a picture: what happens over the frames, the frequencies and the steps.

Shape suffixes: F = frames, S = steps, K = frequencies.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from ..files.picture import save_figure
from .plan_view import choices

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..config import Config
    from ..plan import Plan


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
    panels[7].text(0, 1, "\n".join(choices(config)), va="top", family="monospace", size=8, wrap=True)
    save_figure(figure, path)


def _positions(panel: Axes, plan: Plan, step: int) -> None:
    panel.axhspan(0, plan.span.trained - 1, color="tab:green", alpha=0.12, label="trained positions")
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
