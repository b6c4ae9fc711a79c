"""Models of SVD's classes with random weights: time and memory do not ask what the numbers mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from diffusers import (
        AutoencoderKLTemporalDecoder,
        StableVideoDiffusionPipeline,
        UNetSpatioTemporalConditionModel,
    )


@dataclass(frozen=True, slots=True)
class Size:
    """How large a model is, and the latents that it works on.

    Attributes:
        unet: channels of each level of the UNet; the last level has no attention, as in SVD.
        heads: of attention at each level.
        vae: channels of each level of the VAE.
        rows: of latents.
        columns: of latents.
        context: channels of the image embedding.

    """

    unet: tuple[int, ...]
    heads: tuple[int, ...]
    vae: tuple[int, ...]
    rows: int
    columns: int
    context: int


SIZES = {
    "tiny": Size((32, 64), (1, 2), (32, 32), 8, 12, 32),
    "slim": Size((32, 64, 128, 128), (1, 2, 4, 4), (32, 32, 64, 64), 24, 40, 32),
    "third": Size((96, 192, 384, 384), (3, 6, 12, 12), (32, 64, 128, 128), 24, 40, 128),
    "full": Size((320, 640, 1280, 1280), (5, 10, 20, 20), (128, 256, 512, 512), 72, 128, 1024),
}


def random_unet(size: Size, device: torch.device, dtype: torch.dtype) -> UNetSpatioTemporalConditionModel:
    """Return a UNet of SVD-XT's shape, made where it is to be."""
    from diffusers import UNetSpatioTemporalConditionModel

    levels = len(size.unet)
    down = ("CrossAttnDownBlockSpatioTemporal",) * (levels - 1) + ("DownBlockSpatioTemporal",)
    up = ("UpBlockSpatioTemporal",) + ("CrossAttnUpBlockSpatioTemporal",) * (levels - 1)
    with torch.device(device):
        unet = UNetSpatioTemporalConditionModel(
            block_out_channels=size.unet,
            num_attention_heads=size.heads,
            down_block_types=down,
            up_block_types=up,
            cross_attention_dim=size.context,
            num_frames=25,
        )
    return unet.to(device, dtype).eval().requires_grad_(False)


def random_vae(size: Size, device: torch.device, dtype: torch.dtype) -> AutoencoderKLTemporalDecoder:
    """Return a VAE of SVD's shape."""
    from diffusers import AutoencoderKLTemporalDecoder

    with torch.device(device):
        vae = AutoencoderKLTemporalDecoder(
            block_out_channels=size.vae,
            down_block_types=("DownEncoderBlock2D",) * len(size.vae),
            layers_per_block=2,
            force_upcast=False,
        )
    return vae.to(device, dtype).eval().requires_grad_(False)


def random_pipeline(size: Size, device: torch.device, dtype: torch.dtype) -> StableVideoDiffusionPipeline:
    """Return a whole SVD; its image encoder, which runs once, is a small one."""
    from diffusers import StableVideoDiffusionPipeline

    from ..proving.architecture import Architecture, feature_extractor, image_encoder, scheduler

    pipeline = StableVideoDiffusionPipeline(
        vae=random_vae(size, device, dtype),
        image_encoder=image_encoder(Architecture(context_channels=size.context)).to(device, dtype),
        unet=random_unet(size, device, dtype),
        scheduler=scheduler(),
        feature_extractor=feature_extractor(),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
