"""A full-size SVD-XT through the real path. Needs about 12 GiB of memory and 5 GiB of disk: ``make large``."""

from __future__ import annotations

import os

import pytest
import torch

import longtake
from longtake.core.engine.memory import UnetShape


def full_size_pipeline(scheduler):
    """Return SVD-XT as published, in half precision, with weights that were never initialised to mean anything."""
    from accelerate import init_empty_weights
    from diffusers import (
        AutoencoderKLTemporalDecoder,
        StableVideoDiffusionPipeline,
        UNetSpatioTemporalConditionModel,
    )
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

    vision = CLIPVisionConfig(
        hidden_size=1280,
        intermediate_size=5120,
        num_hidden_layers=32,
        num_attention_heads=16,
        projection_dim=1024,
        patch_size=14,
    )
    with init_empty_weights():
        unet = UNetSpatioTemporalConditionModel(sample_size=96, num_frames=25, num_attention_heads=(5, 10, 20, 20))
        vae = AutoencoderKLTemporalDecoder(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            layers_per_block=2,
            sample_size=768,
            force_upcast=True,
        )
        encoder = CLIPVisionModelWithProjection(vision)
    # Of 2.3 billion normal numbers a draw takes minutes; a million of them, again and again, does as well here.
    pool = torch.randn(1_000_003, generator=torch.Generator().manual_seed(0)).half()
    for part in (unet, vae, encoder):
        part.to_empty(device="cpu").half()
        for parameter in part.parameters():
            count, fan_in = parameter.numel(), parameter[0].numel()
            drawn = pool.repeat(-(-count // len(pool)))[:count].view_as(parameter)
            parameter.data.copy_(drawn / max(fan_in, 1) ** 0.5)
        for name, buffer in part.named_buffers():
            if name.endswith("position_ids"):
                buffer.copy_(torch.arange(buffer.numel()).view_as(buffer))
    return StableVideoDiffusionPipeline(
        vae=vae, image_encoder=encoder, unet=unet, scheduler=scheduler, feature_extractor=CLIPImageProcessor()
    )


@pytest.fixture
def all_cores():
    """As many threads as there are cores, which other tests have no use for."""
    before = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    yield
    torch.set_num_threads(before)


@pytest.mark.large
@pytest.mark.usefixtures("all_cores")
def test_a_full_size_svd_xt_loads_and_runs_through_the_real_path(make_scheduler, tmp_path, picture):
    full_size_pipeline(make_scheduler()).save_pretrained(tmp_path / "svd-xt", variant="fp16")
    model = longtake.load_model(str(tmp_path / "svd-xt"), dtype="bfloat16", device="cpu")
    assert model.dtype == torch.bfloat16
    assert model.pipeline.unet.num_parameters() == 1_524_623_082
    assert model.facts == longtake.ModelFacts(
        name=str(tmp_path / "svd-xt"),
        trained=25,
        latent_channels=4,
        vae_factor=8,
        smallest=64,
        sample_size=768,
        sigma_min=0.002,
        sigma_max=700.0,
        unet=UnetShape((320, 640, 1280, 1280), layers=2, latent_channels=4, parameters=1_524_623_082),
        vae_channels=(128, 256, 512, 512),
    )
    # Where a processor has no bfloat16, its convolutions take many minutes.
    model = longtake.Model.of(model.pipeline.to(torch.float32))
    strategies = {"positional": "yarn", "attention": "freenoise", "guidance": {"name": "constant", "scale": 1}}
    result = longtake.generate(picture, model=model, frames=27, width=64, height=64, steps=1, seed=0, **strategies)
    assert result.frames.shape == (27, 64, 64, 3)
