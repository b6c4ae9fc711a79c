"""The small pipeline: exactly SVD's classes and conditioning, at a size that trains on one processor core.

Images are 32x32 pixels, latents 8x8 with 8 channels, clips 14 frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from ...core.checkpoint.single_file import SCHEDULER

if TYPE_CHECKING:
    from diffusers import (
        AutoencoderKLTemporalDecoder,
        EulerDiscreteScheduler,
        StableVideoDiffusionPipeline,
        UNetSpatioTemporalConditionModel,
    )
    from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

CLIP_IMAGE_SIZE = 224  # the stock pipeline resizes to it, whatever the encoder would like
CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
CLIP_STD = [0.26862954, 0.26130258, 0.27577711]


@dataclass(frozen=True, slots=True)
class Architecture:
    """Sizes of the small pipeline; GroupNorm has 32 groups, so channels are multiples of 32."""

    frames: int = 14
    latent_size: int = 8
    latent_channels: int = 8
    vae_channels: tuple[int, ...] = (32, 32, 64)
    unet_channels: tuple[int, int] = (64, 96)
    heads: tuple[int, int] = (2, 3)
    context_channels: int = 32
    time_channels: int = 32

    @property
    def image_size(self) -> int:
        """Rows (and columns) of the images in pixels: every level of the VAE but the last halves them."""
        return self.latent_size << (len(self.vae_channels) - 1)


def build_pipeline(architecture: Architecture, seed: int) -> StableVideoDiffusionPipeline:
    """Return an untrained pipeline; the same seed gives the same weights."""
    from diffusers import StableVideoDiffusionPipeline

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = StableVideoDiffusionPipeline(
            vae=_vae(architecture),
            image_encoder=image_encoder(architecture),
            unet=_unet(architecture),
            scheduler=scheduler(),
            feature_extractor=feature_extractor(),
        )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _unet(architecture: Architecture) -> UNetSpatioTemporalConditionModel:
    from diffusers import UNetSpatioTemporalConditionModel

    unet = UNetSpatioTemporalConditionModel(
        sample_size=architecture.latent_size,
        in_channels=2 * architecture.latent_channels,
        out_channels=architecture.latent_channels,
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "CrossAttnDownBlockSpatioTemporal"),
        up_block_types=("CrossAttnUpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        block_out_channels=architecture.unet_channels,
        num_attention_heads=architecture.heads,
        layers_per_block=1,
        cross_attention_dim=architecture.context_channels,
        addition_time_embed_dim=architecture.time_channels,
        projection_class_embeddings_input_dim=3 * architecture.time_channels,
        num_frames=architecture.frames,
    )
    _start_as_identity(unet)
    _zero(unet.conv_out)
    return unet


def _vae(architecture: Architecture) -> AutoencoderKLTemporalDecoder:
    from diffusers import AutoencoderKLTemporalDecoder

    vae = AutoencoderKLTemporalDecoder(
        down_block_types=("DownEncoderBlock2D",) * len(architecture.vae_channels),
        block_out_channels=architecture.vae_channels,
        layers_per_block=1,
        latent_channels=architecture.latent_channels,
        sample_size=architecture.image_size,
        scaling_factor=1.0,
        force_upcast=False,
    )
    _start_as_identity(vae)
    last = vae.decoder.time_conv_out
    _zero(last)
    with torch.no_grad():
        for channel in range(last.out_channels):
            last.weight[channel, channel, last.kernel_size[0] // 2] = 1.0
    return vae


def _start_as_identity(model: nn.Module) -> None:
    """Let every residual branch begin at zero: with the default initialisation so small a model stops at a blur."""
    from diffusers.models.attention_processor import Attention
    from diffusers.models.resnet import ResnetBlock2D, TemporalResnetBlock

    for module in model.modules():
        if isinstance(module, ResnetBlock2D | TemporalResnetBlock):
            _zero(module.conv2)
        elif isinstance(module, Attention):
            _zero(module.to_out[0])


def _zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def image_encoder(architecture: Architecture) -> CLIPVisionModelWithProjection:
    """Return an image encoder of two layers, with random weights."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    width = architecture.context_channels
    config = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=CLIP_IMAGE_SIZE,
        patch_size=32,
    )
    encoder: CLIPVisionModelWithProjection = CLIPVisionModelWithProjection(config).eval().requires_grad_(False)
    return encoder


def feature_extractor() -> CLIPImageProcessor:
    """Return what brings an image into the form that SVD's image encoder takes."""
    from transformers import CLIPImageProcessor

    size = {"height": CLIP_IMAGE_SIZE, "width": CLIP_IMAGE_SIZE}
    return CLIPImageProcessor(
        size={"shortest_edge": CLIP_IMAGE_SIZE}, crop_size=size, image_mean=CLIP_MEAN, image_std=CLIP_STD
    )


def scheduler() -> EulerDiscreteScheduler:
    """Return SVD's scheduler; only ``sigma_max`` is smaller (80, not 700), for latents of so few pixels."""
    from diffusers import EulerDiscreteScheduler

    return EulerDiscreteScheduler(**SCHEDULER | {"sigma_max": 80.0})
