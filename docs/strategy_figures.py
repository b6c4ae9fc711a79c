"""Draw what every built-in strategy does, for docs/strategies.md: ``make docs``.

Shape suffixes: F = frames, K = frequencies, N = heads, D = channels per head, P = pixels.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from longtake import Span, load_plugins
from longtake.core.contracts import Strategy
from longtake.core.embedding import trained_frequencies
from longtake.core.testing import example_options

FOLDER = Path(__file__).parent / "strategies"
SPAN = Span(frames=56, trained=14)
BUCKET, FPS, STEPS = 30.0, 7.0, 25
# Options of those that do nothing, or are nothing, without.
EXAMPLES = {
    ("motion", "linear"): {"last_bucket": 10},
    ("guidance", "keyframes"): {"scale": {0: 1, 20: 3, -1: 2}},
    ("motion", "keyframes"): {"bucket": {0: 10, 20: 60, -1: 30}},
}
WIDE = ("positional",)


def main() -> None:
    """Draw one picture for each strategy."""
    FOLDER.mkdir(exist_ok=True)
    registry = load_plugins(third_party=False).registry
    for kind, classes in registry.classes.items():
        for name, cls in classes.items():
            if (kind, name) == ("noise", "file"):  # whatever lies in it
                continue
            strategy = registry.build(kind, {"name": name} | example_options(cls) | EXAMPLES.get((kind, name), {}))
            figure = Figure(figsize=(7, 2) if kind in WIDE else (3.6, 2.2), layout="constrained")
            PAINTERS[kind](figure, strategy)
            figure.savefig(FOLDER / f"{kind}-{name}.png", dpi=80, metadata={"Software": None})


def positional(figure: Figure, strategy: Strategy) -> None:
    """Draw where frames stand, and by what the frequencies of the code are divided."""
    places, frequencies = figure.subplots(1, 2)
    places.axhspan(0, SPAN.trained - 1, color="tab:green", alpha=0.12)
    places.plot(strategy.positions(torch.arange(SPAN.frames, dtype=torch.float32), SPAN), ".", markersize=3)
    places.set(xlabel="frame", ylabel="position")
    freqs_K = trained_frequencies(320)
    divided_K = freqs_K / strategy.frequencies(freqs_K, SPAN).clamp(min=1e-9)
    frequencies.semilogx(SPAN.trained * freqs_K / (2 * math.pi), divided_K.clamp(max=20))
    frequencies.set(xlabel="rotations of a frequency over 14 frames", ylabel="divided by", ylim=(0, None))


def attention(figure: Figure, strategy: Strategy) -> None:
    """Draw how much each frame takes from each, where all queries and keys are alike and all logits are 1."""
    frames = SPAN.frames
    q_PNFD = torch.full((1, 1, frames, frames), frames**-0.25)
    seen_FF = strategy.attend(q_PNFD, q_PNFD, torch.eye(frames)[None, None], SPAN, None)[0, 0]
    panel = figure.subplots()
    image = panel.imshow(seen_FF, cmap="Blues", vmin=0, interpolation="nearest")
    figure.colorbar(image, ax=panel)
    panel.set(xlabel="seen frame", ylabel="frame")


def noise(figure: Figure, strategy: Strategy) -> None:
    """Draw how the noises of frames correlate."""
    sources_F = strategy.sources(SPAN, torch.Generator().manual_seed(0))
    noise_FN = strategy.noise((1, SPAN.frames, 4, 64, 64), sources_F, torch.Generator().manual_seed(1))[0].flatten(1)
    panel = figure.subplots()
    image = panel.imshow(np.corrcoef(noise_FN), cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    figure.colorbar(image, ax=panel)
    panel.set(xlabel="frame", ylabel="frame")


def guidance(figure: Figure, strategy: Strategy) -> None:
    """Draw the scale of each frame."""
    _line(figure.subplots(), strategy.scales(SPAN), "frame", "guidance")


def sigmas(figure: Figure, strategy: Strategy) -> None:
    """Draw the noise level of each step."""
    steps = strategy.default_steps
    panel = figure.subplots()
    panel.semilogy(range(1, steps + 1), strategy.sigmas(steps, 0.002, 700.0)[:-1], ".-")
    panel.set(xlabel="step", ylabel="sigma")


def motion(figure: Figure, strategy: Strategy) -> None:
    """Draw the motion bucket of each frame, where 30 is asked for."""
    _line(figure.subplots(), strategy.buckets(BUCKET, SPAN), "frame", f"bucket; {BUCKET:g} asked for")


def context(figure: Figure, strategy: Strategy) -> None:
    """Draw the windows of the first steps."""
    panel, row = figure.subplots(), 0
    for step in range(3):
        span = Span(SPAN.frames, SPAN.trained, step / (STEPS - 1), step=step)
        windows = strategy.windows(span)
        starts, size = (windows.starts, windows.size) if windows else ([0], SPAN.frames)
        for start in starts:
            inside = [(start, min(size, SPAN.frames - start)), (0, max(0, start + size - SPAN.frames))]
            panel.broken_barh(inside, (row, 0.8), color=f"C{step}")
            row += 1
    panel.set(xlabel="frame", ylabel="windows of 3 steps", xlim=(0, SPAN.frames), ylim=(row, -0.2), yticks=[])


def sampling(figure: Figure, strategy: Strategy) -> None:
    """Draw what is denoised, one after another."""
    size = strategy.seen(SPAN)
    times = round(strategy.frames_denoised(SPAN) / size)
    starts = strategy.starts(SPAN) if size < SPAN.frames else [0] * times
    panel = figure.subplots()
    for row, start in enumerate(starts):
        panel.broken_barh([(start, size)], (row, 0.8))
    panel.set(xlabel="frame", ylabel="denoised", xlim=(0, SPAN.frames), ylim=(len(starts), -0.2), yticks=[])


def _line(panel: Axes, values: torch.Tensor, xlabel: str, ylabel: str) -> None:
    panel.plot(values)
    panel.set(xlabel=xlabel, ylabel=ylabel, ylim=(min(0, float(values.min())), None))


PAINTERS = {
    paint.__name__: paint for paint in (positional, attention, noise, guidance, sigmas, motion, context, sampling)
}


if __name__ == "__main__":
    main()
