"""A video that grows chunk by chunk, each of which begins with the last frames of the one before.

What people do by hand with the last frame of a video, without decoding and encoding it again.

Shape suffixes: B = batch, F = frames of a chunk, K = frames of it that are known, C = latent channels, Y, X = latent
rows, columns.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from ...core.contracts import SamplingStrategy, Span
from ...core.denoiser import Conditional, Denoiser, Part, for_each
from ...core.errors import ConfigError
from ...core.windows import window_starts

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...core.conditioning import Conditioning
    from ...core.sampler import Sampler


class Chain(SamplingStrategy):
    """Grow the video chunk by chunk: each begins with the last frames of the one before, and sees the first of them.

    A chunk is a video of its own: every other strategy is asked about it alone, also how guidance rises with the
    distance from the image. Only what names frames (keyframes, factors over the frames) or the last one (motion) means
    those of the whole video. A chunk's image is the first frame that it shares with the one before, in latents; the
    token of the image encoder stays that of the start image.
    """

    name = "chain"
    chunk: int | None = Field(default=None, ge=2, description="Frames in a chunk; by default the trained length.")
    overlap: int | None = Field(
        default=None, ge=1, description="Frames that a chunk shares with the one before; by default a quarter of it."
    )
    carry: Literal["kept", "renoised", "image"] = Field(
        default="kept",
        description="How shared frames are held at what they are: with the same noise in all steps, with fresh noise "
        "in each, or not at all, so that the first of them is an image and nothing more.",
    )
    match: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="How far mean and contrast of the latents' channels are drawn back to those of the start image.",
    )

    @model_validator(mode="after")
    def _overlap_fits(self) -> Self:
        if self.chunk is not None and self.overlap is not None and self.overlap >= self.chunk:
            raise ValueError(f"overlap must be less than the chunk, got overlap={self.overlap} with chunk={self.chunk}")
        return self

    def seen(self, span: Span) -> int:
        """Return the frames of a chunk."""
        return min(span.frames, self.chunk or span.trained)

    def frames_denoised(self, span: Span) -> int:
        """Return the frames of all chunks."""
        return len(self.starts(span)) * self.seen(span)

    def shared(self, span: Span) -> int:
        """Return the frames that a chunk shares with the one before."""
        size = self.chunk or span.trained
        overlap = self.overlap or max(1, size // 4)
        if overlap >= size:
            raise ConfigError(f"sampling.overlap must be less than the chunk, got overlap={overlap} with chunk={size}")
        return overlap

    def starts(self, span: Span) -> list[int]:
        """Return where chunks begin; the last one ends on the last frame."""
        size = self.seen(span)
        return window_starts(span.frames, size, max(1, size - self.shared(span)))

    def sample(self, sampler: Sampler, noise_BFCYX: Tensor) -> Tensor:
        """Return the latents of all chunks, one after another."""
        run, span = sampler.run, sampler.run.plan.span
        made_BFCYX, size = noise_BFCYX.clone(), self.seen(span)
        before_BFCYX = run.before_BFCYX
        done = 0 if before_BFCYX is None else before_BFCYX.shape[1]
        if before_BFCYX is not None:
            made_BFCYX[:, :done] = before_BFCYX
        for start in self.starts(span):
            inside, known = slice(start, start + size), done - start
            chunk_BFCYX = sampler(
                noise_BFCYX[:, inside],
                plan=sampler.plan_for(range(start, start + size)),
                conditioning=self._told(run.conditioning, made_BFCYX[:, inside], inside, run.vae_scaling),
                wrap=self._holding(sampler, made_BFCYX[:, start:done], noise_BFCYX[:, start:done]),
            )
            new_BFCYX = chunk_BFCYX[:, known:]
            reference_BCYX = run.conditioning.image_latents_BCYX * run.vae_scaling
            made_BFCYX[:, done : start + size] = matched(new_BFCYX, reference_BCYX, self.match if known else 0.0)
            done = start + size
        return made_BFCYX

    def _told(self, told: Conditioning, chunk_BFCYX: Tensor, inside: slice, scaling: float) -> Conditioning:
        """Return what a chunk is told: its own first frame in place of the start image, its part of the end image."""
        ends_F = None if told.ends_F is None else told.ends_F[inside]
        if inside.start == 0:
            return replace(told, ends_F=ends_F)
        first_BCYX = (chunk_BFCYX[:, 0] / scaling).to(told.image_latents_BCYX)
        return replace(told, image_latents_BCYX=first_BCYX, ends_F=ends_F)

    def _holding(self, sampler: Sampler, known_BKCYX: Tensor, noise_BKCYX: Tensor) -> Callable[[Denoiser], Denoiser]:
        """Return what holds a denoiser's first frames at what is known of them."""
        if self.carry == "image" or not known_BKCYX.shape[1]:
            return lambda denoiser: denoiser
        fresh = sampler.fresh if self.carry == "renoised" else None
        return partial(Holding, known_BKCYX=known_BKCYX, noise_BKCYX=noise_BKCYX, fresh=fresh)


class Holding:
    """A denoiser whose first frames are known: it sees them as they are at each sigma, whatever the loop makes of them.

    Args:
        denoiser: that predicts the others.
        known_BKCYX: latents of the first frames.
        noise_BKCYX: that they have at every sigma.
        fresh: gives other noise for every sigma instead.

    """

    def __init__(
        self,
        denoiser: Denoiser,
        known_BKCYX: Tensor,
        noise_BKCYX: Tensor,
        fresh: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self._denoiser = denoiser
        self._known_BKCYX = known_BKCYX
        self._noise_BKCYX = noise_BKCYX
        self._fresh = fresh
        self._sigma = float("nan")

    def __call__(
        self, latents_BFCYX: Tensor, sigma: float, *, conditional: Conditional = True, part: Part | None = None
    ) -> Tensor:
        """Return x0, in the first frames what is known."""
        # Both branches of a step, and all windows of it, see the same noise.
        if self._fresh and sigma != self._sigma:
            self._noise_BKCYX, self._sigma = self._fresh(self._noise_BKCYX), sigma
        known = self._known_BKCYX.shape[1]
        frames_F = torch.arange(latents_BFCYX.shape[1]) if part is None else part.frames_F
        held_F = frames_F < known  # of the frames that are asked about
        seen_BFCYX, places_K = latents_BFCYX.clone(), frames_F[held_F]
        known_BKCYX, noise_BKCYX = (
            for_each(len(seen_BFCYX), each_BKCYX[:, places_K]) for each_BKCYX in (self._known_BKCYX, self._noise_BKCYX)
        )
        seen_BFCYX[:, held_F] = known_BKCYX + sigma * noise_BKCYX
        made_BFCYX = self._denoiser(seen_BFCYX, sigma, conditional=conditional, part=part).clone()
        made_BFCYX[:, held_F] = known_BKCYX
        return made_BFCYX


def matched(latents_BFCYX: Tensor, reference_BCYX: Tensor, strength: float) -> Tensor:
    """Draw mean and contrast of each channel to those of a reference, ever more from the first frame to the last.

    So there is no jump where the frames go on from others.
    """
    if not strength:
        return latents_BFCYX
    over = (1, 3, 4)
    mean_B1C11, std_B1C11 = latents_BFCYX.mean(over, keepdim=True), latents_BFCYX.std(over, keepdim=True)
    reference_B1CYX = reference_BCYX[:, None].to(latents_BFCYX)
    wanted_mean, wanted_std = (getattr(reference_B1CYX, each)((3, 4), keepdim=True) for each in ("mean", "std"))
    like_BFCYX = (latents_BFCYX - mean_B1C11) / std_B1C11.clamp(min=1e-6) * wanted_std + wanted_mean
    share_F = strength * torch.linspace(0, 1, latents_BFCYX.shape[1] + 1)[1:]
    return latents_BFCYX.lerp(like_BFCYX, share_F.to(latents_BFCYX)[:, None, None, None])
