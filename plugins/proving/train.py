"""Train the small pipeline in three stages: the VAE on frames, its decoder on clips, the UNet on latents.

Shape suffixes: B = batch, F = frames, C = latent channels, Y, X = latent rows, columns, R = red, green, blue,
H, W = pixel rows, columns, K = channels of the image embedding.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from ...core.files.whole import make_folder
from ...core.model import choose_device
from .architecture import Architecture, build_pipeline
from .check import save_sheet
from .clips import HELD_OUT_SEED, Clips, encode, frames_of, prepare_clips
from .fit import Stage, fit, save_whole
from .recipe import Recipe

if TYPE_CHECKING:
    from diffusers import AutoencoderKLTemporalDecoder, StableVideoDiffusionPipeline

KL_WEIGHT = 1e-4
LATENT_NOISE = 0.3  # the decoder is taught to average this away over neighbouring frames, so that it mixes in time
LN_SIGMA_MEAN, LN_SIGMA_STD = 1.0, 1.6  # SVD's own
LN_NOISE_AUG_MEAN, LN_NOISE_AUG_STD = -3.0, 0.5  # SVD's own
DROP_CONDITIONS = 0.1


def train(recipe: Recipe, work: Path, architecture: Architecture | None = None) -> StableVideoDiffusionPipeline:
    """Train, or go on training, with checkpoints in ``work``; return the finished pipeline."""
    architecture = architecture or Architecture(latent_size=recipe.size // 4)
    device = choose_device(recipe.device)
    make_folder(work)
    recipe.claim(work)
    pipeline = build_pipeline(architecture, recipe.seed).to(device)
    _train_vae(pipeline.vae, recipe, work)
    clips = _clips(pipeline, recipe, architecture, work)
    _train_decoder(pipeline.vae, clips, recipe, work)
    _train_unet(pipeline, clips, recipe, work)
    return pipeline


def _train_vae(vae: AutoencoderKLTemporalDecoder, recipe: Recipe, work: Path) -> None:
    loss = partial(vae_loss, vae, recipe)
    fit(Stage("vae", vae, loss, recipe.vae_steps, learning_rate=2e-3, matrix_rate=5e-3), work, recipe.save_every)
    vae.eval()
    with torch.no_grad():
        frames_BRHW = torch.cat([frames_of(seed, 1, vae.config.sample_size) for seed in range(256)]).to(vae.device)
        vae.register_to_config(scaling_factor=1 / float(encode(vae, frames_BRHW).std()))


def _clips(pipeline: StableVideoDiffusionPipeline, recipe: Recipe, architecture: Architecture, work: Path) -> Clips:
    path = work / "clips.pt"
    if not path.exists():
        save_whole(prepare_clips(pipeline, recipe.clips, architecture.frames).tensors(), path)
    return Clips(*(tensor.to(pipeline.device) for tensor in torch.load(path, weights_only=True)))


def _train_decoder(vae: AutoencoderKLTemporalDecoder, clips: Clips, recipe: Recipe, work: Path) -> None:
    vae.encoder.requires_grad_(False)
    vae.quant_conv.requires_grad_(False)
    loss = partial(decoder_loss, vae, clips, recipe)
    fit(
        Stage("decoder", vae, loss, recipe.decoder_steps, learning_rate=5e-4, matrix_rate=2e-3), work, recipe.save_every
    )
    vae.requires_grad_(False)


def _train_unet(pipeline: StableVideoDiffusionPipeline, clips: Clips, recipe: Recipe, work: Path) -> None:
    from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

    unet = pipeline.unet
    unet.set_attn_processor(AttnProcessor())  # in bfloat16 its gradient is several times faster than SDPA's
    call = torch.compile(unet) if recipe.compiled else unet
    loss = partial(unet_loss, call, pipeline.vae, clips, recipe)
    stage = Stage("unet", unet, loss, recipe.unet_steps, learning_rate=1.2e-3, matrix_rate=1e-2)
    fit(stage, work, recipe.save_every, partial(_sample_sheet, pipeline, work))
    unet.set_attn_processor(AttnProcessor2_0())


def _sample_sheet(pipeline: StableVideoDiffusionPipeline, work: Path, step: int) -> None:
    save_sheet(pipeline, work / f"sheet-{step:05d}.png")


def vae_loss(vae: AutoencoderKLTemporalDecoder, recipe: Recipe, step: int) -> Tensor:
    """Squared error of single frames plus a light pull of the latents towards the unit normal."""
    generator = _generator(recipe, "vae", step)
    seeds = torch.randint(HELD_OUT_SEED, (recipe.vae_batch,), generator=generator).tolist()
    frames_BRHW = torch.cat([frames_of(seed, 1, vae.config.sample_size) for seed in seeds]).to(vae.device)
    latents = vae.encode(frames_BRHW).latent_dist
    decoded_BRHW = vae.decode(latents.sample(generator), num_frames=1).sample
    kl: Tensor = 0.5 * (latents.mean**2 + latents.var - 1 - latents.logvar).mean()
    error = functional.mse_loss(decoded_BRHW, frames_BRHW)
    return error + KL_WEIGHT * kl


def decoder_loss(vae: AutoencoderKLTemporalDecoder, clips: Clips, recipe: Recipe, step: int) -> Tensor:
    """Squared error of whole clips decoded from slightly noisy latents, which only the frames together can undo."""
    generator = _generator(recipe, "decoder", step)
    seeds = torch.randint(len(clips), (recipe.decoder_batch,), generator=generator)
    latents_BFCYX = clips.latents_NFCYX[seeds]
    strength_B1111 = LATENT_NOISE * torch.rand((len(seeds), 1, 1, 1, 1), generator=generator)
    noise_BFCYX = strength_B1111 * torch.randn(latents_BFCYX.shape, generator=generator)
    noisy_BFCYX = latents_BFCYX + noise_BFCYX.to(vae.device)
    frames = latents_BFCYX.shape[1]
    truth = torch.cat([frames_of(seed, frames, vae.config.sample_size) for seed in seeds.tolist()]).to(vae.device)
    decoded = vae.decode(noisy_BFCYX.flatten(0, 1) / vae.config.scaling_factor, num_frames=frames).sample
    return functional.mse_loss(decoded, truth)


def unet_loss(
    unet: Callable[..., Any],
    vae: AutoencoderKLTemporalDecoder,
    clips: Clips,
    recipe: Recipe,
    step: int,
) -> Tensor:
    """Squared error of the v-prediction, with SVD's conditioning."""
    generator = _generator(recipe, "unet", step)
    chosen_B = torch.randint(len(clips), (recipe.unet_batch,), generator=generator)
    latents_BFCYX = clips.latents_NFCYX[chosen_B]
    sigma_B = draw_sigmas(recipe.unet_batch, generator).to(vae.device)
    sigma = sigma_B[:, None, None, None, None]
    noise = torch.randn(latents_BFCYX.shape, generator=generator).to(vae.device)
    c_skip, c_out, c_in = 1 / (sigma**2 + 1), -sigma / (sigma**2 + 1).sqrt(), 1 / (sigma**2 + 1).sqrt()
    noisy_BFCYX = latents_BFCYX + sigma * noise
    target_BFCYX = (latents_BFCYX - c_skip * noisy_BFCYX) / c_out
    image_BFCYX, context_B1K, time_ids_B3 = draw_conditions(vae, clips, chosen_B, generator)
    with torch.autocast(vae.device.type, torch.bfloat16):
        predicted_BFCYX = unet(
            torch.cat([c_in * noisy_BFCYX, image_BFCYX], dim=2),
            sigma_B.log() / 4,
            encoder_hidden_states=context_B1K,
            added_time_ids=time_ids_B3,
            return_dict=False,
        )[0]
    return functional.mse_loss(predicted_BFCYX.float(), target_BFCYX)


def draw_sigmas(batch: int, generator: torch.Generator) -> Tensor:
    """Draw log-normal noise levels, one from each of ``batch`` equally likely strata."""
    uniform_B = (torch.arange(batch) + torch.rand(batch, generator=generator)) / batch
    normal_B = math.sqrt(2) * torch.erfinv(2 * uniform_B.clamp(1e-3, 1 - 1e-3) - 1)
    return (LN_SIGMA_MEAN + LN_SIGMA_STD * normal_B).exp()


def draw_conditions(
    vae: AutoencoderKLTemporalDecoder, clips: Clips, chosen_B: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Return unscaled image latents for every frame, the context and the time ids; some have no image at all."""
    batch, frames = len(chosen_B), clips.latents_NFCYX.shape[1]
    noise_aug_B = (LN_NOISE_AUG_MEAN + LN_NOISE_AUG_STD * torch.randn(batch, generator=generator)).exp()
    images_BRHW = clips.images_NRHW[chosen_B]
    noise_BRHW = noise_aug_B[:, None, None, None] * torch.randn(images_BRHW.shape, generator=generator)
    with torch.no_grad():
        image_BCYX = encode(vae, images_BRHW + noise_BRHW.to(vae.device))
    kept_B = (torch.rand(batch, generator=generator) >= DROP_CONDITIONS).float().to(vae.device)
    image_BFCYX = (kept_B[:, None, None, None] * image_BCYX)[:, None].expand(-1, frames, -1, -1, -1)
    context_B1K = kept_B[:, None, None] * clips.contexts_N1K[chosen_B]
    told_B3 = torch.stack([clips.rates_N[chosen_B] - 1, clips.buckets_N[chosen_B], noise_aug_B.to(vae.device)], dim=1)
    return image_BFCYX, context_B1K, told_B3


def _generator(recipe: Recipe, stage: str, step: int) -> torch.Generator:
    """Return a generator that depends on the seed, the stage and the step only, so that training can be resumed.

    It draws on the CPU, the same on every device.
    """
    return torch.Generator().manual_seed(zlib.crc32(f"{recipe.seed} {stage} {step}".encode()))
