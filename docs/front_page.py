"""The figures of the README, from the program itself and from committed measurements: sections for cog."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from longtake.core.budget.devices import amount
from longtake.core.cli.plan_view import Needs
from longtake.core.config import Config, load_config
from longtake.core.defaults import resolve
from longtake.core.errors import ConfigError
from longtake.core.facts import SVD_UNET, SVD_VAE_PARAMETERS, ModelFacts, read_facts
from longtake.core.manager import load_plugins
from longtake.core.plan import Plan, make_plan
from longtake.plugins.bench.page import read_results

XT = "stabilityai/stable-video-diffusion-img2vid-xt"
GPU = Path(__file__).parent / "benchmarks" / "gpu.json"
LENGTHS = (100, 200, 300, 500, 1000)
USABLE = {"12 GB": 11, "24 GB": 23}  # GiB of the card that a desktop leaves free
IMAGE_ENCODER_PARAMETERS = 632_076_800  # CLIP ViT-H/14's vision tower with its projection
CALLS = 2 * 25  # of the UNet: 25 steps, each with and without the image
# Published dense tensor throughput with 16-bit inputs and float32 sums, in TFLOP/s.
H200, CARDS = 989.0, {"RTX 3060 (12 GB)": 25.6, "RTX 4090 (24 GB)": 165.2}


def planned(frames: int, **options: object) -> tuple[Plan, Config, ModelFacts]:
    """Return what longtake chooses for SVD-XT on a GPU that need not be here."""
    registry = load_plugins(third_party=False).registry
    config = load_config({"model": XT, "frames": frames, "device": "cuda", "seed": 0, **options}, registry)
    facts = read_facts(XT)
    resolved = resolve(config, facts, registry, elsewhere=True)
    return make_plan(resolved, facts), resolved, facts


def cards() -> str:
    """Return, for each card, how many frames fit and what 100 frames take, as a table."""
    lines = ["| card | longest plan that fits | 100 frames: denoising | decoding |", "|---|---|---|---|"]
    for card, usable in USABLE.items():
        fitting = {}
        for frames in LENGTHS:
            needs = Needs.of(*planned(frames, memory=f"{usable}GiB"))
            if not isinstance(needs.memory, ConfigError) and not isinstance(needs.decoding, ConfigError):
                fitting[frames] = needs.memory.peak, needs.decoding.peak
        cells = (amount(peak) for peak in fitting[100])
        lines.append(f"| {card} ({usable} GiB free) | {max(fitting)} frames | {' | '.join(cells)} |")
    return "\n".join(lines)


def minutes() -> str:
    """Return estimated minutes of denoising 100 frames on each card, from the measured call on an H200."""
    results, about = read_results(GPU)
    (seconds,) = (r.seconds for r in results if (r.what, r.contender, r.frames) == ("unet", "longtake", 80))
    here = CALLS * median(seconds) * 100 / 80
    guesses = (f"about {here * H200 / speed / 60:.0f} minutes on an {card}" for card, speed in CARDS.items())
    source = f"the measured time of a call on an {about['machine'].removeprefix('NVIDIA ')}"
    return (
        f"Denoising 100 frames in 25 steps should take {' and '.join(guesses)}. These are estimates: {source} "
        f"({here:.0f} s for all {CALLS} calls), scaled by the cards' published throughput."
    )


def download() -> str:
    """Return how large the weights are in half precision."""
    total = 2 * (SVD_UNET.parameters + SVD_VAE_PARAMETERS + IMAGE_ENCODER_PARAMETERS)
    return f"{total / 1e9:.1f} GB"


def motion(frames: int = 100) -> str:
    """Return which motion bucket longtake chooses, and what it makes of it."""
    plan, config, facts = planned(frames)
    return (
        f"For {frames} frames of SVD-XT longtake chooses motion bucket {config.motion_bucket:g} and raises it to "
        f"{float(plan.buckets_SF.max()):g}; {facts.top_bucket:g} is the largest that the model was trained on."
    )
