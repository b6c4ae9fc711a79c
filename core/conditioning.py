"""What SVD is told of the start image: its embedding and its latents.

Shape suffixes: B = batch, C = channels, Y, X = latent rows, columns, H, W = pixel rows, columns.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

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

    """

    embedding_B1C: Tensor
    image_latents_BCYX: Tensor
    noise_aug: float


@torch.no_grad()
def encode_images(model: Model, images: Sequence[Image], noise_aug: float, generator: torch.Generator) -> Conditioning:
    """Encode start images of one size.

    The generator gives the augmentation noise, (B, 3, H, W) in float32, and is used for nothing before it: the order
    in which diffusers' pipeline draws.
    """
    pixels_BCHW = torch.stack([to_pixels(image) for image in images])
    embedding_B1C = embed_images(model, images)
    noise_BCHW = torch.randn(pixels_BCHW.shape, generator=generator)
    noisy_BCHW = pixels_BCHW * 2 - 1 + noise_aug * noise_BCHW
    with precise_vae(model) as vae:
        latents_BCYX = vae.encode(noisy_BCHW.to(model.device, vae.dtype)).latent_dist.mode()
    return Conditioning(embedding_B1C, latents_BCYX.to(model.dtype), noise_aug)


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
    return embedding_BC[:, None]


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
