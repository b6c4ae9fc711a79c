"""A memory budget for the decoder: how many frames are decoded at a time, and where their states are held."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from ..engine.decode_memory import OVERLAP, DecodePlan, DecodeWork, least_decoding, plan_decoding
from ..engine.resample import merged_numbers
from ..errors import ConfigError
from .denoising import SMALLER, budget_for, work_of
from .devices import amount, host_room, workspace_for

if TYPE_CHECKING:
    from ..config import Config
    from ..facts import ModelFacts


def decode_work(config: Config, facts: ModelFacts, *, weights_loaded: bool = False) -> DecodeWork:
    """Return what is to be decoded for a resolved config; its own weights, and what else stays on the device."""
    assert config.frames and config.width and config.height and config.dtype, "the config is not resolved"
    # In half precision SVD's decoder overflows, so that its config asks for float32.
    number = 4 if config.dtype == "float16" else getattr(torch, config.dtype).itemsize
    merged = merged_numbers(facts.vae_channels) if facts.vae_parameters else 0
    weights = (facts.vae_parameters + merged) * number + (work_of(config, facts).weights if weights_loaded else 0)
    rows, columns = config.height // facts.vae_factor, config.width // facts.vae_factor
    sizes = facts.vae_channels, config.frames, rows, columns, number, weights
    settled = config.decode_overlap is not None
    overlap = config.decode_overlap if config.decode_overlap is not None else OVERLAP
    return DecodeWork(*sizes, overlap=overlap, settled=settled, ring=config.loop, asked=config.decode_chunk)


def fit_decoding(config: Config, facts: ModelFacts, *, weights_loaded: bool = False) -> DecodePlan:
    """Return how decoding is split so that it fits the memory that the config allows, or that is free.

    Args:
        config: resolved, but that it may leave open how many frames are decoded at a time.
        facts: of the model.
        weights_loaded: whether the weights of UNet and VAE are on the device already, and stay there.

    Raises:
        ConfigError: it cannot fit; the message says what would.

    """
    assert config.device
    work, device = decode_work(config, facts, weights_loaded=weights_loaded), torch.device(config.device)
    loaded = facts.vae_parameters * work.number + work_of(config, facts).loaded  # what is merged from it is made later
    budget = budget_for(config, loaded, weights_loaded=weights_loaded)
    host = host_room(device)
    plan = plan_decoding(work, budget, host, workspace_for(device))
    if plan is None:
        there = f"--memory allows {amount(budget)}" if config.memory else f"{amount(budget)} are free on {device}"
        least = least_decoding(work, on_host=host > 0)
        needed = amount(least.peak)
        if least.on_host:
            needed += f", and {amount(least.held)} of the host's memory"
            there += f", and the host {amount(host)}"
        raise ConfigError(
            f"decoding {work.frames} frames of {config.width}x{config.height}, {least.together} at a time, takes at "
            f"least {needed}, but {there}; what fits: {_what_decodes(work, budget, host, facts)}"
        )
    return plan


def _what_decodes(work: DecodeWork, budget: int, host: int, facts: ModelFacts) -> str:
    """Return what of it could be decoded: fewer frames at a time, or a smaller size."""
    fewer = replace(work, asked=None)
    plan, found = plan_decoding(fewer, budget, host, 1), []
    if plan and work.asked:
        found.append(f"--decode-chunk {plan.chunk}")
    for share in SMALLER:
        rows, columns = (max(8, round(side * share / 8) * 8) for side in (work.rows, work.columns))
        if plan_decoding(replace(fewer, rows=rows, columns=columns), budget, host, 1):
            found.append(f"frames of {columns * facts.vae_factor}x{rows * facts.vae_factor}")
            break
    if work.number > 2 and plan_decoding(replace(work, number=2), budget, host, 1):
        found.append("all of it with --dtype bfloat16")
    return "; ".join(found) or "nothing; free memory, or use another device"


def describe_decoding(plan: DecodePlan) -> str:
    """Return a plan for decoding in a line."""
    work = plan.work
    around = f", with {work.overlap} more on each side, twice: {plan.times:.1f} times the work"
    frames = "all frames at once" if plan.all_at_once else f"{plan.chunk} frames at a time{around}"
    where = f"states {amount(plan.held)}" + (" in the host's memory" if plan.on_host else "")
    return (
        f"about {amount(plan.peak)} at the most: weights {amount(work.weights)}, {where}, "
        f"chunks {amount(plan.at_work)}; {frames}"
    )
