"""Look at, and measure, what a pipeline makes of held-out scenes of its world."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from .worlds import FASTEST, HELD_OUT_SEED, SLOWEST, Array, Comet, comet, follow, render

if TYPE_CHECKING:
    from diffusers import StableVideoDiffusionPipeline


@dataclass(frozen=True, slots=True)
class Case:
    """One held-out scene, generated and measured."""

    speed: float  # the truth, pixels per frame
    speed_ratio: float  # velocity along the true direction / true speed
    direction_error: float  # degrees
    last_error: float  # pixels between the true and the generated displacement at the last frame
    faintest: float  # smallest area of the comet in any frame / area in the truth's first frame


def as_picture(frame_HW3: Array) -> Image.Image:
    """Return values in [0, 1] as an 8-bit picture."""
    return Image.fromarray(np.rint(frame_HW3 * 255).clip(0, 255).astype(np.uint8))


def generate(pipeline: StableVideoDiffusionPipeline, scene: Comet, seed: int, steps: int, guidance: float) -> Array:
    """Return the stock pipeline's video of a scene from its first frame, (F, H, W, 3) in [0, 1]."""
    size = pipeline.vae.config.sample_size
    result = pipeline(
        as_picture(render(scene, np.zeros(1))[0]),
        height=size,
        width=size,
        num_inference_steps=steps,
        min_guidance_scale=1.0,
        max_guidance_scale=guidance,
        motion_bucket_id=scene.motion_bucket,
        generator=torch.Generator().manual_seed(seed),
        output_type="np",
    )
    video_FHW3: Array = result.frames[0].astype(np.float64)
    return video_FHW3


def save_sheet(
    pipeline: StableVideoDiffusionPipeline, path: Path, scenes: int = 5, steps: int = 12, guidance: float = 1.0
) -> None:
    """Draw the truth and below it the generated video of the first held-out scenes."""
    rows = []
    for index in range(scenes):
        scene = comet(HELD_OUT_SEED + index)
        video_FHW3 = generate(pipeline, scene, index, steps, guidance)
        rows += [render(scene, np.arange(len(video_FHW3), dtype=np.float64)), video_FHW3]
    sheet = as_picture(np.concatenate([np.concatenate(list(row), axis=1) for row in rows]))
    sheet.resize((3 * sheet.width, 3 * sheet.height), Image.Resampling.NEAREST).save(path)


def measure_pipeline(
    pipeline: StableVideoDiffusionPipeline, cases: int = 16, steps: int = 25, guidance: float = 1.0
) -> list[Case]:
    """Generate held-out scenes at evenly spaced speeds and compare their motion with the truth."""
    speeds = np.linspace(SLOWEST, FASTEST, 2 * cases + 1)[1::2]
    scenes = [comet(HELD_OUT_SEED + 100 + index, speed=float(speed)) for index, speed in enumerate(speeds)]
    return [compare(scene, generate(pipeline, scene, seed, steps, guidance)) for seed, scene in enumerate(scenes)]


def compare(scene: Comet, video_FHW3: Array) -> Case:
    """Compare the motion in a video with the motion of the scene it should show."""
    motion, truth = follow(scene, video_FHW3), np.asarray(scene.velocity)
    measured = motion.velocity
    along, aside = measured @ truth, measured[0] * truth[1] - measured[1] * truth[0]
    whole = follow(scene, render(scene, np.zeros(1))).area_F[0]
    return Case(
        speed=scene.speed,
        speed_ratio=float(along / scene.speed**2),
        direction_error=float(np.degrees(abs(np.arctan2(aside, along)))),
        last_error=float(np.hypot(*(motion.path_F2[-1] - truth * (len(video_FHW3) - 1)))),
        faintest=float(motion.area_F.min() / whole),
    )
