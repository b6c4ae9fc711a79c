"""A tiny SVD of diffusers' classes with random weights, for tests: all parts of the real one, few numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from .checkpoint.single_file import SCHEDULER

if TYPE_CHECKING:
    from diffusers import EulerDiscreteScheduler, StableVideoDiffusionPipeline


def svd_scheduler(**changes: Any) -> EulerDiscreteScheduler:
    """Return diffusers' scheduler with the settings of SVD."""
    from diffusers import EulerDiscreteScheduler

    return EulerDiscreteScheduler(**SCHEDULER | changes)


def tiny_pipeline(seed: int = 0, *, trained: int = 4, cross: int = 16) -> StableVideoDiffusionPipeline:
    """Return an SVD pipeline of the stock classes with a few thousand random weights; latents are 1/4 of the pixels."""
    from diffusers import StableVideoDiffusionPipeline
    from transformers import CLIPImageProcessor

    torch.manual_seed(seed)
    return StableVideoDiffusionPipeline(
        unet=_unet(trained, cross).eval(),
        vae=_vae().eval(),
        image_encoder=_image_encoder(cross).eval(),
        scheduler=svd_scheduler(),
        feature_extractor=CLIPImageProcessor(),
    )


def _unet(trained: int, cross: int) -> Any:
    from diffusers import UNetSpatioTemporalConditionModel

    unet = UNetSpatioTemporalConditionModel(
        sample_size=8,
        in_channels=8,
        out_channels=4,
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        layers_per_block=1,
        num_attention_heads=(2, 4),
        cross_attention_dim=cross,
        addition_time_embed_dim=16,
        projection_class_embeddings_input_dim=48,
        num_frames=trained,
    )
    # The mixing weights start at a half; differing ones make sure that nothing is mixed up.
    for name, parameter in unet.named_parameters():
        if name.endswith("mix_factor"):
            parameter.data.normal_()
    return unet


def _vae() -> Any:
    from diffusers import AutoencoderKLTemporalDecoder

    return AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 3,
        latent_channels=4,
        layers_per_block=1,
        sample_size=32,
        scaling_factor=0.18215,
        force_upcast=True,
    )


def _image_encoder(cross: int) -> Any:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=32,
            projection_dim=cross,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=224,
            patch_size=112,
        )
    )
