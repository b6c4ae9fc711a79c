"""Classifier-free guidance with a scale for each frame: what decides a step unless another plugin does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from ..core.hookspecs import hookimpl

if TYPE_CHECKING:
    from ..core.denoiser import Denoiser
    from ..core.run import Step


@hookimpl(trylast=True)
def longtake_predict(step: Step, denoiser: Denoiser) -> Tensor:
    """Decide the step by calls of the UNet that see the whole video."""
    return guided(step, denoiser)


def guided(step: Step, denoiser: Denoiser) -> Tensor:
    """Move from the unconditional prediction through the conditional one, by the scale of each frame.

    Where every scale is 1 the unconditional branch would count for nothing, and is not run.
    """
    conditional_BFCYX = denoiser(step.latents, step.sigma)
    if step.guidance_F is None or bool((step.guidance_F == 1).all()):
        return conditional_BFCYX
    return guide(conditional_BFCYX, denoiser(step.latents, step.sigma, conditional=False), step.guidance_F)


def guide(conditional_BFCYX: Tensor, unconditional_BFCYX: Tensor, guidance_F: Tensor) -> Tensor:
    """Return predictions moved from the unconditional ones through the conditional ones, (B, F, C, Y, X)."""
    scales_F111 = guidance_F.to(conditional_BFCYX)[:, None, None, None]
    return unconditional_BFCYX + scales_F111 * (conditional_BFCYX - unconditional_BFCYX)
