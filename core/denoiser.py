"""SVD as a function that takes noisy latents and their sigma and returns denoised latents.

SVD's own scalings stand only here: four named numbers. Everywhere else the code knows ``sigma`` and ``denoised``.

Shape suffixes: B = batch, F = frames, C = latent channels, Y, X = latent rows, columns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .conditioning import Conditioning
    from .plan import Plan
    from .seams import Seams


@dataclass(frozen=True, slots=True)
class Part:
    """Some frames of the video, which one call of the UNet sees by themselves.

    Attributes:
        frames_F: their numbers in the video, int64.
        local: whether they count from zero, as if they were a video of their own; else each keeps its place.
        image_latents_BFCYX: what they see of the image, unscaled; None = what they see in the whole video.

    """

    frames_F: Tensor
    local: bool = False
    image_latents_BFCYX: Tensor | None = None


# Whether the image is seen: by all videos of a batch, or by each, (B,).
Conditional = bool | Tensor


class Denoiser(Protocol):
    """What the loop asks for: denoised latents, of the same shape as the noisy ones."""

    def __call__(
        self, latents_BFCYX: Tensor, sigma: float, *, conditional: Conditional = True, part: Part | None = None
    ) -> Tensor:
        """Return x0 as predicted from ``latents_BFCYX``, of all frames or of a part, at noise level ``sigma``.

        Both branches of guidance may be asked for at once: as a batch that holds the videos twice, with ``conditional``
        a tensor that says of each whether it sees the image.
        """
        ...


class Scalings(NamedTuple):
    """Karras et al. 2022 (arXiv 2206.00364), equation 7."""

    c_skip: float
    c_out: float
    c_in: float
    c_noise: float


def scalings(sigma: float) -> Scalings:
    """``c_skip * x + c_out * net(c_in * x, c_noise)`` is x0, for v-prediction with sigma_data = 1.

    Raises:
        ValueError: sigma is not positive.

    """
    if not sigma > 0:
        raise ValueError(f"sigma must be positive, got {sigma}")
    total = sigma**2 + 1
    return Scalings(1 / total, -sigma / math.sqrt(total), 1 / math.sqrt(total), math.log(sigma) / 4)


def guide(unconditional_BFCYX: Tensor, conditional_BFCYX: Tensor, scales_F: Tensor) -> Tensor:
    """Move from the unconditional prediction through the conditional one, by the scale of each frame.

    It does not matter whether predictions are of x0 or as the network gives them: the one is linear in the other.
    """
    scales_F111 = scales_F.to(conditional_BFCYX)[:, None, None, None]
    return unconditional_BFCYX + scales_F111 * (conditional_BFCYX - unconditional_BFCYX)


def for_each(batch: int, known_BX: Tensor) -> Tensor:
    """Return what is known of some videos for a batch that may hold all of them several times."""
    times, *each = batch // len(known_BX), *known_BX.shape
    return known_BX.expand(times, *each).flatten(0, 1)


class UnetDenoiser:
    """SVD's UNet with its conditioning, as a :class:`Denoiser`.

    It has no state of its own: the step, with its progress and motion, is the one whose sigma is nearest.
    """

    def __init__(self, unet: Any, conditioning: Conditioning, plan: Plan, seams: Seams) -> None:
        self.unet = unet
        self.conditioning = conditioning
        self.plan = plan
        self.seams = seams

    def __call__(
        self, latents_BFCYX: Tensor, sigma: float, *, conditional: Conditional = True, part: Part | None = None
    ) -> Tensor:
        """Return x0 in the precision of the latents; one call of the UNet."""
        batch, frames = latents_BFCYX.shape[:2]
        step = self.plan.step_at(sigma)
        image_latents_BFCYX = self.conditioning.image_latents(self.plan.frames)
        time_ids_F3 = self.plan.time_ids(step, self.conditioning.noise_aug)
        if part is not None:
            image_latents_BFCYX, time_ids_F3 = image_latents_BFCYX[:, part.frames_F], time_ids_F3[part.frames_F]
            if part.image_latents_BFCYX is not None:
                image_latents_BFCYX = part.image_latents_BFCYX
        image_latents_BFCYX = _shown(image_latents_BFCYX.expand(-1, frames, -1, -1, -1), batch, conditional)
        embedding_B1C = _shown(self.conditioning.embedding_B1C, batch, conditional)
        self.seams.progress, self.seams.step = self.plan.progress(step), step
        self.seams.conditional = conditional if isinstance(conditional, bool) else tuple(conditional.tolist())
        self.seams.moment = self, step, sigma, None if part is None else (tuple(part.frames_F.tolist()), part.local)
        self.seams.part, self.seams.whole = part, self.plan.frames
        self.seams.seen = self.plan.span if part is None else self.plan.span.part(part.frames_F)
        time_ids_BF3 = time_ids_F3.to(embedding_B1C).expand(batch, frames, 3)
        self.seams.time_ids_BF3 = time_ids_BF3
        scaling = scalings(sigma)
        scaled_BFCYX = (latents_BFCYX * scaling.c_in).to(image_latents_BFCYX.dtype)
        prediction_BFCYX: Tensor = self.unet(
            torch.cat([scaled_BFCYX, image_latents_BFCYX], dim=2),
            torch.tensor(scaling.c_noise, dtype=torch.float32, device=latents_BFCYX.device),
            encoder_hidden_states=embedding_B1C,
            added_time_ids=time_ids_BF3[:, 0],
            return_dict=False,
        )[0]
        return scaling.c_skip * latents_BFCYX + scaling.c_out * prediction_BFCYX.to(latents_BFCYX.dtype)


def _shown(told_BX: Tensor, batch: int, conditional: Conditional) -> Tensor:
    """Return what each video of a batch is told of the image: zeros where it is not to see it."""
    told_BX = for_each(batch, told_BX)
    if conditional is True:
        return told_BX
    shown_B = torch.as_tensor(conditional, device=told_BX.device).expand(batch)
    return torch.where(shown_B.view(-1, *[1] * (told_BX.ndim - 1)), told_BX, 0)
