"""The world made ready for training: rendered clips and what the frozen parts of the pipeline make of them.

Shape suffixes: N = clips, B = batch, F = frames, C = latent channels, Y, X = latent rows, columns,
R = red, green, blue, H, W = pixel rows, columns, K = channels of the image embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .worlds import comet, render

if TYPE_CHECKING:
    from diffusers import AutoencoderKLTemporalDecoder, StableVideoDiffusionPipeline


@dataclass(frozen=True, slots=True)
class Clips:
    """Clips as the UNet is trained on them: scaled latents, first images in [-1, 1], embeddings, motion buckets."""

    latents_NFCYX: Tensor
    images_NRHW: Tensor
    contexts_N1K: Tensor
    buckets_N: Tensor

    def __len__(self) -> int:
        return len(self.buckets_N)


def frames_of(seed: int, frames: int, start: float = 0.0) -> Tensor:
    """Return the frames of the scene with this seed as (F, 3, H, W) in [-1, 1]."""
    video_FHW3 = render(comet(seed), start + np.arange(frames, dtype=np.float64))
    return torch.from_numpy(video_FHW3).float().permute(0, 3, 1, 2) * 2 - 1


@torch.no_grad()
def prepare_clips(pipeline: StableVideoDiffusionPipeline, clips: int, frames: int) -> Clips:
    """Render the scenes 0 .. clips - 1 and encode them with the trained VAE and the image encoder."""
    latents, images, contexts, buckets = [], [], [], []
    for seed in range(clips):
        frames_FRHW = frames_of(seed, frames)
        latents.append(encode(pipeline.vae, frames_FRHW) * pipeline.vae.config.scaling_factor)
        images.append(frames_FRHW[0])
        contexts.append(embed_image(pipeline, frames_FRHW[:1])[0])
        buckets.append(comet(seed).motion_bucket)
    return Clips(torch.stack(latents), torch.stack(images), torch.stack(contexts), torch.tensor(buckets))


def encode(vae: AutoencoderKLTemporalDecoder, images_BRHW: Tensor) -> Tensor:
    """Return the unscaled mode of the latents, (B, C, Y, X)."""
    latents_BCYX: Tensor = vae.encode(images_BRHW).latent_dist.mode()
    return latents_BCYX


def embed_image(pipeline: StableVideoDiffusionPipeline, images_BRHW: Tensor) -> Tensor:
    """Return the stock pipeline's own embedding of images in [-1, 1], (B, 1, K)."""
    pictures = pipeline.video_processor.postprocess(images_BRHW, output_type="pil")
    context_B1K: Tensor = pipeline._encode_image(pictures, "cpu", 1, False)
    return context_B1K
