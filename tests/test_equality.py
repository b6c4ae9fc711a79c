"""With nothing asked of it, longtake gives the numbers of diffusers' own pipeline."""

from __future__ import annotations

import pytest
import torch

import longtake
from longtake.core.image import fit_image


def ours(model, images, seed: int, *, frames: int, steps: int, guidance) -> torch.Tensor:
    """Denoise a batch from longtake's pieces, one generator for the image's noise and then the video's."""
    plugins = longtake.load_plugins(third_party=False)
    config = longtake.load_config(
        {"frames": frames, "steps": steps, "seed": seed, "guidance": guidance, "width": 32, "height": 24},
        plugins.registry,
    )
    config = longtake.resolve(config, model.facts, plugins.registry)
    plan = longtake.make_plan(config, model.facts)
    generator = torch.Generator().manual_seed(seed)
    conditioning = longtake.encode_images(model, images, config.noise_aug, generator)
    shape = (len(images), frames, model.facts.latent_channels, 24 // 4, 32 // 4)
    noise = config.noise.noise(shape, plan.noise_sources_F, generator)
    unet = model.pipeline.unet
    with longtake.installed(unet, config.positional, config.attention) as seams:
        denoiser = longtake.UnetDenoiser(unet, conditioning, plan, seams)
        return longtake.denoise(denoiser, noise, plan.sigmas_S1, plan.guidance_SF)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("scales", [(1.0, 3.0), (1.0, 1.0), (2.0, 1.5)])
@pytest.mark.parametrize("frames", [2, 3, 4])
def test_latents_equal_those_of_the_pipeline(tiny_model, make_pipeline, picture, batch, scales, frames):
    images = [fit_image(picture, 32, 24, "crop"), fit_image(picture.rotate(180), 32, 24, "crop")][:batch]
    low, high = scales
    theirs = make_pipeline()(
        images,
        height=24,
        width=32,
        num_frames=frames,
        num_inference_steps=5,
        min_guidance_scale=low,
        max_guidance_scale=high,
        generator=torch.Generator().manual_seed(7),
        output_type="latent",
    ).frames
    guidance = {"name": "linear", "min": low, "max": high}
    mine = ours(tiny_model, images, 7, frames=frames, steps=5, guidance=guidance)
    assert theirs.abs().mean() > 0.1
    torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=0)
