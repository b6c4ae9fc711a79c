"""Clips of the worlds, as they are told to a model, and made ready for training.

Shape suffixes: N = clips, B = batch, F = frames, C = latent channels, Y, X = latent rows, columns,
R = red, green, blue, H, W = pixel rows, columns, K = channels of the image embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .worlds import SIDE, WORLDS, World
from .worlds.canvas import Array

if TYPE_CHECKING:
    from diffusers import AutoencoderKLTemporalDecoder, StableVideoDiffusionPipeline

KINDS = tuple(WORLDS)
REFERENCE_FPS = 7.0
BUCKETS_PER_PIXEL = 100.0
BUCKETS = (6.0, 48.0)
RATES = (5, 11)  # frames per second, the last one excluded
HELD_OUT_SEED = 1_000_000  # clips from this seed on are never trained on


@dataclass(frozen=True, slots=True)
class Clip:
    """A world in motion, with what SVD is told about it.

    Attributes:
        world: what is seen.
        motion_bucket: a hundred times the pixels that it moves in a seventh of a second.
        fps: frames per second; at a higher rate less happens from frame to frame.

    """

    world: World
    motion_bucket: float
    fps: float = REFERENCE_FPS

    @property
    def speed(self) -> float:
        """Pixels moved from one frame to the next."""
        return self.motion_bucket / BUCKETS_PER_PIXEL * REFERENCE_FPS / self.fps

    def distances(self, frames: int) -> Array:
        """Return how far the world has moved in each frame, (F,)."""
        return self.speed * np.arange(frames, dtype=np.float64)

    def render(self, frames: int, size: int = SIDE) -> Array:
        """Return the clip, (F, H, W, 3) in [0, 1]."""
        return self.world.render(self.distances(frames), size)


def draw_clip(seed: int, kind: str | None = None, motion_bucket: float | None = None, fps: float | None = None) -> Clip:
    """Draw a clip; the same seed gives the same one, and the kinds of worlds take turns unless one is asked for."""
    rng = np.random.default_rng(seed)
    bucket, rate = float(rng.uniform(*BUCKETS)), float(rng.integers(*RATES))
    world = WORLDS[kind or KINDS[seed % len(KINDS)]].draw(rng)
    return Clip(world, bucket if motion_bucket is None else motion_bucket, rate if fps is None else fps)


@dataclass(frozen=True, slots=True)
class Clips:
    """Clips as the UNet is trained on them: scaled latents, first images in [-1, 1], embeddings, what they are told."""

    latents_NFCYX: Tensor
    images_NRHW: Tensor
    contexts_N1K: Tensor
    rates_N: Tensor
    buckets_N: Tensor

    def __len__(self) -> int:
        return len(self.buckets_N)

    def tensors(self) -> tuple[Tensor, ...]:
        """Return what it is made from again."""
        return self.latents_NFCYX, self.images_NRHW, self.contexts_N1K, self.rates_N, self.buckets_N


def frames_of(seed: int, frames: int, size: int = SIDE) -> Tensor:
    """Return the frames of the clip with this seed as (F, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(draw_clip(seed).render(frames, size)).float().permute(0, 3, 1, 2) * 2 - 1


@torch.no_grad()
def prepare_clips(pipeline: StableVideoDiffusionPipeline, clips: int, frames: int) -> Clips:
    """Render the clips 0 .. clips - 1 and encode them with the trained VAE and the image encoder."""
    latents, images, contexts = [], [], []
    for seed in range(clips):
        frames_FRHW = frames_of(seed, frames, pipeline.vae.config.sample_size)
        encoded = encode(pipeline.vae, frames_FRHW.to(pipeline.vae.device)).cpu()
        latents.append(encoded * pipeline.vae.config.scaling_factor)
        images.append(frames_FRHW[0].clone())  # not a view, which would keep the whole clip
        contexts.append(embed_image(pipeline, frames_FRHW[:1])[0])
    drawn = [draw_clip(seed) for seed in range(clips)]
    rates_N = torch.tensor([clip.fps for clip in drawn])
    buckets_N = torch.tensor([clip.motion_bucket for clip in drawn])
    return Clips(torch.stack(latents), torch.stack(images), torch.stack(contexts), rates_N, buckets_N)


def encode(vae: AutoencoderKLTemporalDecoder, images_BRHW: Tensor) -> Tensor:
    """Return the unscaled mode of the latents, (B, C, Y, X)."""
    latents_BCYX: Tensor = vae.encode(images_BRHW).latent_dist.mode()
    return latents_BCYX


def embed_image(pipeline: StableVideoDiffusionPipeline, images_BRHW: Tensor) -> Tensor:
    """Return the stock pipeline's own embedding of images in [-1, 1], (B, 1, K)."""
    pictures = pipeline.video_processor.postprocess(images_BRHW, output_type="pil")
    context_B1K: Tensor = pipeline._encode_image(pictures, pipeline.device, 1, False)
    return context_B1K.cpu()
