"""What SVD is told of the start image: its embedding and its latents.

Shape suffixes: B = batch, C = channels, Y, X = latent rows, columns, H, W = pixel rows, columns.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .finite import check_finite

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from PIL.Image import Image

    from .model import Model

ENCODER_SIZE = (224, 224)


@dataclass(frozen=True, slots=True)
class Conditioning:
    """The start images as the UNet sees them; the unconditional branch sees zeros instead.

    Attributes:
        embedding_B1C: one token of the image encoder for each image.
        image_latents_BCYX: the mode of the VAE's encoding, not scaled.
        noise_aug: strength of the noise that was added to the image before encoding.
        end_latents_BCYX: likewise of the image that the video goes to, if any.
        ends_F: how much of the end image each frame sees, in [0, 1].

    """

    embedding_B1C: Tensor
    image_latents_BCYX: Tensor
    noise_aug: float
    end_latents_BCYX: Tensor | None = None
    ends_F: Tensor | None = None

    def image_latents(self, frames: int) -> Tensor:
        """Return the image latents that each frame sees, (B, F, C, Y, X)."""
        start_BFCYX = self.image_latents_BCYX[:, None].expand(-1, frames, -1, -1, -1)
        if self.end_latents_BCYX is None or self.ends_F is None:
            return start_BFCYX
        exact = torch.promote_types(start_BFCYX.dtype, torch.float32)
        share_F111 = self.ends_F.to(start_BFCYX.device, exact)[:, None, None, None]
        blended_BFCYX = start_BFCYX.to(exact).lerp(self.end_latents_BCYX[:, None].to(exact), share_F111)
        return blended_BFCYX.to(start_BFCYX.dtype)


@torch.no_grad()
def encode_images(model: Model, images: Sequence[Image], noise_aug: float, generator: torch.Generator) -> Conditioning:
    """Encode start images of one size.

    The generator gives the augmentation noise, (B, 3, H, W) in float32, and is used for nothing before it: the order
    in which diffusers' pipeline draws.
    """
    embedding_B1C = embed_images(model, images)
    return Conditioning(embedding_B1C, _image_latents(model, images, noise_aug, generator), noise_aug)


@torch.no_grad()
def going_to(
    told: Conditioning, model: Model, image: Image, ends_F: Tensor, generator: torch.Generator
) -> Conditioning:
    """Return the conditioning of a video that goes to an image, of which each frame sees as much as ``ends_F`` says.

    Its latents take the place of the start image's, frame by frame; the token of the image encoder stays.
    """
    latents_BCYX = _image_latents(model, [image], told.noise_aug, generator)
    return replace(told, end_latents_BCYX=latents_BCYX, ends_F=ends_F)


def end_ramp(frames: int, coming: int) -> Tensor:
    """Return 0 for all but the last ``coming`` frames, and a rise to 1 over those, (F,)."""
    return ((torch.arange(frames) - (frames - 1 - coming)) / coming).clamp(0, 1)


def _image_latents(model: Model, images: Sequence[Image], noise_aug: float, generator: torch.Generator) -> Tensor:
    """Return the mode of the VAE's encoding of images with a little noise, (B, C, Y, X)."""
    pixels_BCHW = torch.stack([to_pixels(image) for image in images])
    noise_BCHW = torch.randn(pixels_BCHW.shape, generator=generator)
    noisy_BCHW = pixels_BCHW * 2 - 1 + noise_aug * noise_BCHW
    with precise_vae(model) as vae:
        latents_BCYX: Tensor = vae.encode(noisy_BCHW.to(model.device, vae.dtype)).latent_dist.mode()
    return check_finite(latents_BCYX, "the latents of the image contain").to(model.dtype)


def to_pixels(image: Image) -> Tensor:
    """Return an RGB image as (3, H, W) in [0, 1], float32."""
    return torch.from_numpy(np.asarray(image, dtype=np.float32) / 255).permute(2, 0, 1)


@torch.no_grad()
def embed_images(model: Model, images: Sequence[Image]) -> Tensor:
    """Return the token of the image encoder for each image of one size, (B, 1, C)."""
    # Private, but the resize that SVD's image encoder was trained with; a test compares the result with the pipeline's.
    from diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion import _resize_with_antialiasing

    pixels_BCHW = torch.stack([to_pixels(image) for image in images])
    resized_BCHW = (_resize_with_antialiasing(pixels_BCHW * 2 - 1, ENCODER_SIZE) + 1) / 2
    normalised_BCHW = model.pipeline.feature_extractor(
        images=resized_BCHW,
        do_normalize=True,
        do_center_crop=False,
        do_resize=False,
        do_rescale=False,
        return_tensors="pt",
    ).pixel_values
    with model.at_hand("image_encoder") as encoder:
        embedding_BC: Tensor = encoder(normalised_BCHW.to(model.device, encoder.dtype)).image_embeds
    return check_finite(embedding_BC, "the image embedding contains", "image encoder")[:, None]


@contextmanager
def precise_vae(model: Model) -> Iterator[Any]:
    """Give the VAE in float32 where it overflows in half precision and its config says so; put it back afterwards."""
    with model.at_hand("vae") as vae:
        dtype = vae.dtype
        upcast = dtype == torch.float16 and vae.config.force_upcast
        if upcast:
            vae.to(torch.float32)
        try:
            yield vae
        finally:
            if upcast:
                vae.to(dtype)
