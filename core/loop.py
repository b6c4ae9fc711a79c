"""The denoising loop: for each noise level one prediction and one Euler step.

Shape suffixes: B = batch, F = frames, C = latent channels, Y, X = latent rows, columns, S = steps.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .errors import PluginError
from .manager import load_plugins
from .run import Run, Step

if TYPE_CHECKING:
    import pluggy

    from .denoiser import Denoiser


@torch.no_grad()
def denoise(
    denoiser: Denoiser,
    noise_BFCYX: Tensor,
    sigmas_S1: Tensor,
    guidance_SF: Tensor | None = None,
    *,
    hooks: pluggy.HookRelay | None = None,
    run: Run | None = None,
) -> Tensor:
    """Turn noise of unit variance into latents (Euler's method; Karras et al. 2022, algorithm 1 without churn).

    Args:
        denoiser: returns denoised latents for latents and a sigma.
        noise_BFCYX: unit variance, float32; it is scaled here.
        sigmas_S1: falling noise levels, the last one 0.
        guidance_SF: guidance scale of each step and frame; None = no guidance.
        hooks: of a plugin manager; by default the built-in ones.
        run: handed to hooks in each :class:`Step`.

    Returns:
        latents_BFCYX, still scaled by the VAE's scaling factor.

    """
    hooks = hooks or load_plugins(third_party=False).manager.hook
    levels = sigmas_S1.tolist()
    # The model saw x0 + sigma · n with x0 of unit variance in training, so that is what pure noise stands for.
    latents_BFCYX = noise_BFCYX * math.sqrt(levels[0] ** 2 + 1)
    for index, (sigma, sigma_next) in enumerate(pairwise(levels)):
        guidance_F = None if guidance_SF is None else guidance_SF[index]
        step = Step(index, len(levels) - 1, sigma, sigma_next, latents_BFCYX, guidance_F, run=run)
        hooks.longtake_before_step(step=step)
        step.denoised = hooks.longtake_predict(step=step, denoiser=denoiser)
        if step.denoised is None:
            raise PluginError(f"no plugin predicted step {index + 1} of {step.count}; longtake_predict returned None")
        if step.denoised.shape != step.latents.shape:
            shapes = f"{tuple(step.latents.shape)}, got {tuple(step.denoised.shape)}"
            raise PluginError(f"longtake_predict must return {shapes} at step {index + 1} of {step.count}")
        slope_BFCYX = (step.latents - step.denoised) / sigma
        step.latents = step.latents + slope_BFCYX * (sigma_next - sigma)
        hooks.longtake_after_step(step=step)
        latents_BFCYX = step.latents
    return latents_BFCYX
