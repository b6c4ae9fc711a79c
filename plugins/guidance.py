"""Classifier-free guidance with a scale for each frame: what decides a step unless another plugin does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..core.denoiser import guide
from ..core.hookspecs import hookimpl

if TYPE_CHECKING:
    from ..core.denoiser import Denoiser
    from ..core.run import Step


@hookimpl(trylast=True)
def longtake_predict(step: Step, denoiser: Denoiser) -> Tensor:
    """Decide the step by calls of the UNet that see the whole video."""
    return guided(step, denoiser)


def guided(step: Step, denoiser: Denoiser) -> Tensor:
    """Ask for both predictions, and move from the unconditional through the conditional one.

    Where every scale is 1 the unconditional branch would count for nothing, and is not run.
    """
    if step.guidance_F is None or bool((step.guidance_F == 1).all()):
        return denoiser(step.latents, step.sigma)
    if step.run is not None and step.run.both_at_once:
        twice_BFCYX = torch.cat([step.latents, step.latents])
        shown_B = torch.arange(len(twice_BFCYX)) >= len(step.latents)
        unconditional_BFCYX, conditional_BFCYX = denoiser(twice_BFCYX, step.sigma, conditional=shown_B).chunk(2)
        return guide(unconditional_BFCYX, conditional_BFCYX, step.guidance_F)
    conditional_BFCYX = denoiser(step.latents, step.sigma)
    return guide(denoiser(step.latents, step.sigma, conditional=False), conditional_BFCYX, step.guidance_F)
