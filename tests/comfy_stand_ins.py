"""Stand-ins for ComfyUI's sampling, written from how it behaves as those of comfy_model.py are.

Shape suffixes: N = batch x frames, C = channels, Y, X = rows, columns.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from comfy_model import COLUMNS, FRAMES, ROWS, SCALING, load, nested_copy


class InterruptProcessingException(Exception):
    """The user has pressed the button."""


def encoded(conditioning, latents_NCYX):
    """Return what the model is told, for all frames of a video."""
    (embedding, told), frames = conditioning[0], len(latents_NCYX)
    ids = torch.tensor([[told["fps"] - 1, told["motion_bucket_id"], told["augmentation_level"]]], dtype=torch.float32)
    return {
        "c_concat": told["concat_latent_image"].expand(frames, -1, -1, -1),
        "c_crossattn": embedding.expand(frames, -1, -1),
        "y": ids.expand(frames, -1),
        "num_video_frames": frames,
    }


def calc_cond_batch(model, conds, x, timestep, model_options):
    """Return a prediction for each conditioning, all of which go through the UNet together; none gives zeros."""
    asked = [number for number, cond in enumerate(conds) if cond is not None][::-1]
    options = nested_copy(model_options["transformer_options"]) | {"cond_or_uncond": asked, "sigmas": timestep}
    told = [conds[number] for number in asked]
    c = {key: torch.cat([each[key] for each in told]) for key in ("c_concat", "c_crossattn", "y")}
    c |= {"num_video_frames": told[0]["num_video_frames"], "transformer_options": options}
    given = {"input": torch.cat([x] * len(asked)), "timestep": torch.cat([timestep] * len(asked)), "c": c}
    wrapper = model_options.get("model_function_wrapper")
    if wrapper:
        made = wrapper(model.apply_model, given | {"cond_or_uncond": asked})
    else:
        made = model.apply_model(given["input"], given["timestep"], **c)
    found = dict(zip(asked, made.chunk(len(asked)), strict=True))
    return [found.get(number, torch.zeros_like(x)) for number in range(len(conds))]


def sampling_function(model, x, timestep, uncond, cond, scale, model_options):
    if math.isclose(scale, 1.0) and not model_options.get("disable_cfg1_optimization", False):
        uncond = None
    cond_pred, uncond_pred = calc_cond_batch(model, [cond, uncond], x, timestep, model_options)
    if "sampler_cfg_function" in model_options:
        args = {"cond": x - cond_pred, "uncond": x - uncond_pred, "cond_scale": scale, "sigma": timestep}
        denoised = x - model_options["sampler_cfg_function"](args)
    else:
        denoised = uncond_pred + (cond_pred - uncond_pred) * scale
    for function in model_options.get("sampler_post_cfg_function", []):
        args = {"denoised": denoised, "cond": cond, "uncond": uncond, "cond_scale": scale, "model": model, "input": x}
        args |= {"cond_denoised": cond_pred, "uncond_denoised": uncond_pred, "sigma": timestep}
        denoised = function(args | {"model_options": model_options})
    return denoised


class Euler:
    """A SAMPLER."""

    def max_denoise(self, model_wrap, sigmas):
        return math.isclose(float(sigmas[0]), model_wrap.inner_model.model_sampling.sigma_max, rel_tol=1e-5)

    def sample(
        self, model_wrap, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, disable_pbar=False
    ):
        extra_args["denoise_mask"] = denoise_mask
        sampling = model_wrap.inner_model.model_sampling
        x = sampling.noise_scaling(sigmas[0], noise, latent_image, self.max_denoise(model_wrap, sigmas))
        for step, (sigma, following) in enumerate(pairwise(sigmas)):
            denoised = model_wrap(x, sigma * x.new_ones(len(x)), extra_args["model_options"])
            if callback:
                callback(step, denoised, x, len(sigmas) - 1)
            x = x + (x - denoised) / sigma * (following - sigma)
        return sampling.inverse_noise_scaling(sigmas[-1], x)


class Guider:
    """A GUIDER: a model with its conditioning and cfg."""

    def __init__(self, model_patcher):
        self.model_patcher = model_patcher
        self.model_options = model_patcher.model_options
        self.conds, self.cfg = {}, 1.0

    def set_conds(self, positive, negative=None):
        self.original = {"positive": positive, "negative": negative}

    def set_cfg(self, cfg):
        self.cfg = cfg

    def __call__(self, x, timestep, model_options):
        conds = self.conds
        return sampling_function(
            self.inner_model, x, timestep, conds["negative"], conds["positive"], self.cfg, model_options
        )

    @torch.no_grad()
    def sample(
        self, noise, latent_image, sampler, sigmas, denoise_mask=None, callback=None, disable_pbar=False, seed=None
    ):
        self.inner_model = load(self.model_patcher)
        if latent_image.any():
            latent_image = latent_image * SCALING
        self.conds = {name: each and encoded(each, noise) for name, each in self.original.items()}
        options = nested_copy(self.model_options)
        options["transformer_options"]["sample_sigmas"] = sigmas
        args = {"model_options": options, "seed": seed}
        made = sampler.sample(self, sigmas, args, callback, noise, latent_image, denoise_mask, disable_pbar)
        return made.float() / SCALING


def prepare_noise(latents, seed):
    return torch.randn(latents.shape, generator=torch.Generator().manual_seed(seed))


def karras(steps, low=0.002, high=700.0, rho=7.0):
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    sigmas = (high ** (1 / rho) + ramp * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    return torch.cat([sigmas, torch.zeros(1)]).float()


# --- a generation -----------------------------------------------------------------------------------------------------


def told(bucket: float = 100.0):
    """Return positive and negative conditioning of an image."""
    generator = torch.Generator().manual_seed(7)
    embedding, image = torch.randn(1, 1, 16, generator=generator), torch.randn(1, 4, ROWS, COLUMNS, generator=generator)
    said = {"motion_bucket_id": bucket, "fps": 7, "augmentation_level": 0.02}
    return (
        [[embedding, said | {"concat_latent_image": image}]],
        [[torch.zeros_like(embedding), said | {"concat_latent_image": torch.zeros_like(image)}]],
    )


def sampled(model, *, frames=FRAMES, steps=2, seed=5, noise=None, sampler=None, cfg=2.0, callback=None, negative=True):
    """Return what ComfyUI's sampler makes, (F, C, Y, X)."""
    guider, (positive, nothing) = Guider(model), told()
    guider.set_conds(positive, nothing if negative else None)
    guider.set_cfg(cfg)
    latents = torch.zeros(frames, 4, ROWS, COLUMNS)
    noise = prepare_noise(latents, seed) if noise is None else noise.generate_noise({"samples": latents})
    return guider.sample(noise, latents, sampler or Euler(), karras(steps), callback=callback, seed=seed)
