"""Look at, and measure, what a pipeline makes of held-out clips of its worlds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from .cases import as_picture
from .clips import BUCKETS, HELD_OUT_SEED, KINDS, Clip, draw_clip
from .measures import Score, score
from .worlds.canvas import Array

if TYPE_CHECKING:
    from diffusers import StableVideoDiffusionPipeline


@dataclass(frozen=True, slots=True)
class Scored:
    """One held-out clip, generated and measured."""

    clip: Clip
    score: Score


def generate(pipeline: StableVideoDiffusionPipeline, clip: Clip, seed: int, steps: int, guidance: float) -> Array:
    """Return the stock pipeline's video of a clip from its first frame, (F, H, W, 3) in [0, 1]."""
    size = pipeline.vae.config.sample_size
    result = pipeline(
        as_picture(clip.world.render(np.zeros(1), size)[0]),
        height=size,
        width=size,
        num_inference_steps=steps,
        min_guidance_scale=1.0,
        max_guidance_scale=guidance,
        motion_bucket_id=clip.motion_bucket,
        fps=clip.fps,
        generator=torch.Generator().manual_seed(seed),
        output_type="np",
    )
    video_FHW3: Array = result.frames[0].astype(np.float64)
    return video_FHW3


def save_sheet(pipeline: StableVideoDiffusionPipeline, path: Path, steps: int = 12, guidance: float = 1.0) -> None:
    """Draw the truth, and below it the generated video, of a held-out clip of each world."""
    rows = []
    for index, kind in enumerate(KINDS):
        clip = draw_clip(HELD_OUT_SEED + index, kind, BUCKETS[1], fps=7.0)
        video_FHW3 = generate(pipeline, clip, index, steps, guidance)
        rows += [clip.render(*video_FHW3.shape[:2]), video_FHW3]
    sheet = as_picture(np.concatenate([np.concatenate(list(row), axis=1) for row in rows]))
    sheet.resize((3 * sheet.width, 3 * sheet.height), Image.Resampling.NEAREST).save(path)


def measure_pipeline(
    pipeline: StableVideoDiffusionPipeline, cases: int = 8, steps: int = 25, guidance: float = 1.0
) -> list[Scored]:
    """Generate held-out clips of each world, their motion spaced evenly, and score them."""
    measured = []
    for kind in KINDS:
        for seed, bucket in enumerate(np.linspace(*BUCKETS, 2 * cases + 1)[1::2]):
            clip = draw_clip(HELD_OUT_SEED + 100 + seed, kind, motion_bucket=float(bucket), fps=7.0)
            measured.append(Scored(clip, score(clip, generate(pipeline, clip, seed, steps, guidance))))
    return measured
