"""What longtake's own loop makes of what the stand-ins of ComfyUI are given."""

from __future__ import annotations

import torch
from comfy_model import COLUMNS, FRAMES, ROWS, SCALING
from comfy_stand_ins import told

import longtake
from longtake import installed, load_config, make_plan, resolve
from longtake.core.conditioning import Conditioning
from longtake.core.denoiser import UnetDenoiser
from longtake.schedules.guidance import Constant

REGISTRY = longtake.load_plugins(third_party=False).registry


def sampled_by_longtake(tiny_model, *, frames=FRAMES, steps=2, seed=5, guidance=None, motion=100.0, **strategies):
    """Return what longtake's own loop makes of the same, (F, C, Y, X)."""
    data = {"frames": frames, "steps": steps, "seed": seed, "width": COLUMNS * 8, "height": ROWS * 8}
    data |= {"motion_bucket": motion, "motion": "constant", "guidance": guidance or Constant(scale=2.0)}
    sampling = strategies.pop("sampling", None)
    config = load_config(
        data | {"positional": "none", "attention": "full", "noise": "independent"} | strategies, REGISTRY
    )
    facts = tiny_model.facts
    config = resolve(config, facts, REGISTRY)
    plan = make_plan(config, facts)
    generator = torch.Generator().manual_seed(seed)
    noise = config.noise.noise((1, frames, 4, ROWS, COLUMNS), plan.noise_sources_F, generator)
    (embedding, said) = told()[0][0]
    conditioning = Conditioning(embedding, said["concat_latent_image"], 0.02)
    unet = tiny_model.pipeline.unet
    with installed(unet, config.positional, config.attention, trained=facts.trained) as seams:

        class Sampler:
            def __call__(self, noise):
                denoiser = UnetDenoiser(unet, conditioning, plan, seams)
                return longtake.denoise(denoiser, noise, plan.sigmas_S1, plan.guidance_SF)

            def fresh(self, like):
                return torch.randn(like.shape, generator=generator)

        made = (sampling or REGISTRY.build("sampling", "joint")).sample(Sampler(), noise)
    return made[0] / SCALING


def close(made, expected):
    # Latents of 2000 in float32, divided by the scaling: a last digit is 0.0007.
    torch.testing.assert_close(made, expected, atol=2e-3, rtol=0)
