"""What a strategy is: the contracts that built-in and third-party strategies fulfil.

A strategy *is* its options: one frozen pydantic model with one or two methods. Methods grow by fields of
:class:`Span`, never by arguments, so old plugins keep working.

Shape suffixes: P = batch x pixels, N = heads, F = frames, D = channels per head, K = frequencies, W = windows,
B = batch, C = latent channels, Y, X = latent rows, columns, S = steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from .course import ONE, AnyCourse
from .plain import Options
from .span import Span, Windows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .sampler import Sampler


__all__ = [
    "CONTRACTS",
    "AttentionStrategy",
    "ContextStrategy",
    "GuidanceSchedule",
    "MotionSchedule",
    "NoiseSchedule",
    "PositionalStrategy",
    "RangedStrategy",
    "SamplingStrategy",
    "SigmaSchedule",
    "Span",
    "Strategy",
    "Windows",
]


class Strategy(Options):
    """A choice that a config makes by name; its fields are its options."""

    kind: ClassVar[str]
    name: ClassVar[str]

    def dump(self) -> dict[str, Any]:
        """Return name and options, as they stand in a config file."""
        return {"name": self.name, **self.model_dump(mode="json")}


class RangedStrategy(Strategy):
    """A strategy that may be limited to a part of the denoising."""

    start: float = Field(default=0.0, ge=0, le=1, description="Acts from this fraction of the denoising steps on.")
    stop: float = Field(default=1.0, ge=0, le=1, description="Acts before this fraction of the denoising steps.")

    @model_validator(mode="after")
    def _range_in_order(self) -> Self:
        if self.start > self.stop:
            raise ValueError(f"start must not be after stop, got start={self.start} with stop={self.stop}")
        return self

    def active(self, progress: float) -> bool:
        """Whether the strategy acts at this progress; ranges [0, a) and [a, 1] share out the steps without overlap."""
        return self.start <= progress and (progress < self.stop or self.stop == 1.0)


class PositionalStrategy(RangedStrategy):
    """Places frames on the time line that the model was trained on.

    SVD turns a frame's position into sines and cosines, sends them through a trained MLP and *adds* the result to the
    input of each temporal block. Changing positions keeps the code on the curve that this MLP knows; changing single
    frequencies leaves the curve.
    """

    kind: ClassVar[str] = "positional"

    def positions(self, frames_F: Tensor, span: Span) -> Tensor:
        """Return the position of each frame; may be fractional. Shape (F,) like ``frames_F``, which is 0 … T - 1."""
        return frames_F

    def frequencies(self, freqs_K: Tensor, span: Span) -> Tensor:
        """Return the angular frequencies to use in place of the trained ones, in radians per frame, shape (K,)."""
        return freqs_K

    def temperature(self, span: Span) -> float:
        """Return a factor on the logits of temporal self-attention; 1.0 = as trained, more = sharper."""
        return 1.0

    def slows(self) -> bool:
        """Return whether motion slows down by the stretch, and is made up for unless something else is asked for."""
        return True


class AttentionStrategy(RangedStrategy):
    """Decides which frames see which in temporal self-attention. Override one of the three methods.

    Its options are for every strategy, and applied around ``attend``: each is a number, a list (spread evenly over the
    frames, linear in between), or a mapping ``{steps: [...]}`` (spread over the denoising steps). What is not 1 acts at
    any length, since it has been asked for.
    """

    kind: ClassVar[str] = "attention"

    key_scale: AnyCourse = Field(default=ONE, description="Factor on the keys: less calms motion, more adds to it.")
    query_scale: AnyCourse = Field(default=ONE, description="Factor on the queries.")
    value_scale: AnyCourse = Field(default=ONE, description="Factor on the values: how much attention adds at all.")
    temperature: AnyCourse = Field(
        default=ONE, description="Factor on the logits of each query: more is sharper, less is flatter."
    )

    def mask(self, span: Span) -> Tensor | None:
        """Return (F, F), True (or a bias, in float) where query row sees key column; None = everything."""
        return None

    def windows(self, span: Span) -> Windows | None:
        """Return overlapping windows whose results are summed with weights; None = one window over all."""
        return None

    def whole_frames(self, span: Span) -> bool:
        """Return whether ``attend`` needs all pixels of the frames at a time, whatever memory that takes.

        It must not depend on the progress, since memory is planned once for all steps.
        """
        return False

    def attend(self, q_PNFD: Tensor, k_PNFD: Tensor, v_PNFD: Tensor, span: Span, scale: float | None) -> Tensor:
        """Return the attention's result, (P, N, F, D): full control, queries, keys and values already projected.

        Pixels know nothing of each other, and may be of several videos, unless ``whole_frames`` asks for those of one.
        ``scale`` multiplies the logits and holds the temperature; None means 1 / sqrt(D), exactly as the model does.
        """
        windows, mask_FF = self.windows(span), _like(self.mask(span), q_PNFD)
        if windows is None:
            return scaled_dot_product_attention(q_PNFD, k_PNFD, v_PNFD, attn_mask=mask_FF, scale=scale)
        # In half precision the weights of a frame would no longer sum to one, nor the sum keep what is added to it.
        exact = torch.promote_types(q_PNFD.dtype, torch.float32)
        fused_PNFD = torch.zeros_like(q_PNFD, dtype=exact)

        def add_window(inside: slice | Tensor, weights_F: Tensor) -> None:
            q, k, v = (each_PNFD[:, :, inside] for each_PNFD in (q_PNFD, k_PNFD, v_PNFD))
            mask = None if mask_FF is None else mask_FF[inside][:, inside]
            seen_PNFD = scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
            del q, k, v  # in a ring they are copies, and the sum takes room
            fused_PNFD[:, :, inside] += weights_F[inside, None] * seen_PNFD

        for start, weights_F in zip(windows.starts, windows.weights_WF.to(q_PNFD.device, exact), strict=True):
            add_window(windows.inside(start), weights_F)
        return fused_PNFD.to(q_PNFD.dtype)


def _like(mask_FF: Tensor | None, q_PNFD: Tensor) -> Tensor | None:
    """Move a mask to where the queries are; a bias also takes their dtype, as the kernels demand."""
    if mask_FF is None or mask_FF.dtype == torch.bool:
        return mask_FF if mask_FF is None else mask_FF.to(q_PNFD.device)
    return mask_FF.to(q_PNFD)


class NoiseSchedule(Strategy):
    """Decides what noise a generation starts from: which frame of fresh noise each frame uses."""

    kind: ClassVar[str] = "noise"

    def sources(self, span: Span, generator: torch.Generator) -> Tensor:
        """Return for each frame the index of the fresh noise that it uses, shape (F,), dtype int64."""
        return torch.arange(span.frames)

    def noise(self, shape_BFCYX: Sequence[int], sources_F: Tensor, generator: torch.Generator) -> Tensor:
        """Return noise of unit variance, (B, F, C, Y, X) in float32. ``generator`` is used for nothing before it."""
        batch, _, *rest = shape_BFCYX
        fresh = int(sources_F.max()) + 1
        return torch.randn((batch, fresh, *rest), generator=generator, dtype=torch.float32)[:, sources_F]


class GuidanceSchedule(RangedStrategy):
    """Decides how strongly each frame is guided by the start image."""

    kind: ClassVar[str] = "guidance"

    def scales(self, span: Span) -> Tensor:
        """Return one guidance scale for each frame, (F,); 1 = none, and outside ``start … stop`` there is none."""
        raise NotImplementedError(f"guidance schedule {self.name!r} has no method scales")


class SigmaSchedule(Strategy):
    """Decides the noise levels that a generation passes through."""

    kind: ClassVar[str] = "sigmas"
    default_steps: ClassVar[int] = 25

    def sigmas(self, steps: int, sigma_min: float, sigma_max: float) -> Tensor:
        """Return ``steps`` falling noise levels and a final 0, (S + 1,) in float32; the model knows min … max."""
        raise NotImplementedError(f"sigma schedule {self.name!r} has no method sigmas")


class MotionSchedule(RangedStrategy):
    """Decides motion bucket and frame rate, which SVD is conditioned on, for each frame."""

    kind: ClassVar[str] = "motion"

    def buckets(self, motion_bucket: float, span: Span) -> Tensor:
        """Return the motion bucket of each frame, (F,), given the one asked for."""
        return torch.full((span.frames,), float(motion_bucket))

    def rates(self, fps: float, span: Span) -> Tensor:
        """Return the frames per second of each frame, (F,), given those asked for."""
        return torch.full((span.frames,), float(fps))

    def highest_bucket(self, top: float, span: Span) -> float:
        """Return the highest motion bucket whose speed the video keeps, where the model knows buckets up to ``top``.

        Override it in a schedule that raises the bucket. longtake warns beyond it, and its own choice stays below.
        """
        return top


class ContextStrategy(RangedStrategy):
    """Decides whether the UNet sees the whole video at a time, or windows of it whose predictions are fused."""

    kind: ClassVar[str] = "context"

    def windows(self, span: Span) -> Windows | None:
        """Return overlapping windows, each a call of the UNet of its own; None = the whole video in one call."""
        return None

    def image_latents(self, images_FCYX: Tensor, frames_F: Tensor, before_TCYX: Tensor, span: Span) -> Tensor:
        """Return what each frame of a window sees of an image, (F, C, Y, X).

        Args:
            images_FCYX: unscaled latents of what it sees in the whole video: the start image, which SVD gives to all.
            frames_F: the frames of the window, by their numbers in the video.
            before_TCYX: what the windows before have predicted in this step, likewise unscaled; NaN where none has.
            span: of the whole video.

        """
        return images_FCYX


class SamplingStrategy(Strategy):
    """Decides how noise becomes a video: all of it together, chunk by chunk, or again and again."""

    kind: ClassVar[str] = "sampling"

    def seen(self, span: Span) -> int:
        """Return how many frames are denoised together: what memory is planned for, and strategies are asked about."""
        return span.frames

    def starts(self, span: Span) -> Sequence[int]:
        """Return the first frames of what is denoised together, one after another."""
        return [0]

    def frames_denoised(self, span: Span) -> int:
        """Return how many frames are denoised in all, those that are denoised twice counted twice."""
        return span.frames

    def shared(self, span: Span) -> int:
        """Return how many frames of a video that is continued it goes on from; 0 = it cannot continue one."""
        return 0

    def sample(self, sampler: Sampler, noise_BFCYX: Tensor) -> Tensor:
        """Return the latents of the whole video, (B, F, C, Y, X), scaled by the VAE's scaling factor."""
        return sampler(noise_BFCYX)


CONTRACTS: tuple[type[Strategy], ...] = (
    *(PositionalStrategy, AttentionStrategy, ContextStrategy, SamplingStrategy),
    *(NoiseSchedule, GuidanceSchedule, SigmaSchedule, MotionSchedule),
)
