"""The denoising loop: for each noise level one prediction and one Euler step.

Shape suffixes: B = batch, F = frames, C = latent channels, Y, X = latent rows, columns, S = steps.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .answers import given
from .blame import others_with
from .errors import ModelError, PluginError
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
        _change(hooks.longtake_before_step, step)
        step.denoised = hooks.longtake_predict(step=step, denoiser=denoiser)
        if step.denoised is None:
            raise PluginError(f"no plugin predicted step {index + 1} of {step.count}; longtake_predict returned None")
        if not isinstance(step.denoised, Tensor) or not _is_like(step.denoised, latents_BFCYX):
            raise PluginError(
                f"longtake_predict must return {given(latents_BFCYX)}, got {given(step.denoised)}, at step "
                f"{index + 1} of {step.count}; others' plugins with that hook: "
                f"{', '.join(others_with(hooks.longtake_predict)) or 'none'}"
            )
        slope_BFCYX = (step.latents - step.denoised) / sigma
        step.latents = step.latents + slope_BFCYX * (sigma_next - sigma)
        _change(hooks.longtake_after_step, step)
        latents_BFCYX = step.latents
    return latents_BFCYX


def _change(hook: pluggy.HookCaller, step: Step) -> None:
    """Let hooks change the latents of a step, and see that those of others leave some.

    Raises:
        PluginError: they do not, with the plugins that may have done it.

    """
    others, before = others_with(hook), step.latents
    if not others:
        hook(step=step)
        return
    was_finite = bool(torch.isfinite(step.latents).all())
    try:
        hook(step=step)
    except (ModelError, RuntimeError):  # of longtake's own, which looks at the latents last
        if not was_finite or _fault(step.latents, before) is None:
            raise
    fault = _fault(step.latents, before)
    if fault:
        raise PluginError(
            f"after {hook.name} of {', '.join(others)} the latents must be finite and of {given(before)}, got "
            f"{fault}, at step {step.index + 1} of {step.count}"
        )


def _fault(latents: object, before: Tensor) -> str | None:
    """Return what is wrong with latents, if anything is."""
    if not isinstance(latents, Tensor) or not _is_like(latents, before):
        return given(latents)
    return None if bool(torch.isfinite(latents).all()) else "some that are not finite"


def _is_like(latents: Tensor, before: Tensor) -> bool:
    return (latents.shape, latents.dtype, latents.device) == (before.shape, before.dtype, before.device)
