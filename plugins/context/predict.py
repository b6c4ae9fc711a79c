"""Decide a step window by window, where the context strategy has windows.

Shape suffixes: B = batch, F = frames of a window, T = frames of the video, C = latent channels, Y, X = latent rows,
columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...core.answers import check_tensor, check_windows
from ...core.contracts import ContextStrategy, Span, Windows
from ...core.denoiser import Conditional, Denoiser, Part, for_each
from ...core.hookspecs import hookimpl
from ..guidance import guided

if TYPE_CHECKING:
    from ...core.run import Step


@hookimpl
def longtake_predict(step: Step, denoiser: Denoiser) -> Tensor | None:
    """Fuse what the UNet predicts of each window; None where it sees the whole video."""
    if step.run is None or step.run.config.context is None:
        return None
    context, plan = step.run.config.context, step.run.plan
    span = plan.span_at(step.index)
    windows = check_windows(context, context.windows(span), span.frames) if context.active(span.progress) else None
    if windows is None:
        return None
    images_BTCYX = step.run.conditioning.image_latents(span.frames)
    return guided(step, FusedDenoiser(denoiser, context, windows, span, images_BTCYX, step.run.vae_scaling))


@dataclass(frozen=True, slots=True)
class FusedDenoiser:
    """A denoiser that asks another about each window, and sums what it says with the windows' weights."""

    denoiser: Denoiser
    context: ContextStrategy
    windows: Windows
    span: Span
    images_BTCYX: Tensor
    scaling: float

    def __call__(
        self, latents_BFCYX: Tensor, sigma: float, *, conditional: Conditional = True, part: Part | None = None
    ) -> Tensor:
        """Return x0 of the whole video."""
        assert part is None, "windows are of the whole video"
        exact = torch.promote_types(latents_BFCYX.dtype, torch.float32)
        fused_BTCYX = torch.zeros_like(latents_BFCYX, dtype=exact)
        weights_WT = self.windows.weights_WF.to(latents_BFCYX.device, exact)
        all_T = torch.arange(self.span.frames)
        told_T = torch.zeros_like(weights_WT[0])  # how much of each frame has been predicted so far
        for start, weights_T in zip(self.windows.starts, weights_WT, strict=True):
            frames_F = all_T[self.windows.inside(start)]
            seen = Part(frames_F, self.windows.local_positions, self._images(frames_F, fused_BTCYX, told_T))
            made_BFCYX = self.denoiser(latents_BFCYX[:, frames_F], sigma, conditional=conditional, part=seen)
            fused_BTCYX[:, frames_F] += weights_T[frames_F, None, None, None] * made_BFCYX
            told_T += weights_T
        return fused_BTCYX.to(latents_BFCYX.dtype)

    def _images(self, frames_F: Tensor, fused_BTCYX: Tensor, told_T: Tensor) -> Tensor:
        """Return what the frames of a window see of an image, (B, F, C, Y, X)."""
        share_T111 = torch.where(told_T > 0, told_T, torch.nan)[:, None, None, None]
        seen = []
        images_BTCYX = for_each(len(fused_BTCYX), self.images_BTCYX)
        for images_TCYX, fused_TCYX in zip(images_BTCYX, fused_BTCYX, strict=True):
            before_TCYX = fused_TCYX / share_T111 / self.scaling
            own_FCYX = images_TCYX[frames_F]
            images_FCYX = self.context.image_latents(own_FCYX, frames_F, before_TCYX, self.span)
            seen.append(check_tensor(self.context, "image latents", images_FCYX, own_FCYX.shape, own_FCYX))
        return torch.stack(seen)
