"""One case of the table: a clip of a world, and the video that a method makes of its first frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .clips import BUCKETS, HELD_OUT_SEED, KINDS, Clip, draw_clip
from .methods import Method
from .worlds.canvas import Array

if TYPE_CHECKING:
    from ...core.manager import Plugins
    from ...core.model import Model

TABLE_SEED = HELD_OUT_SEED + 10_000  # clips from here on are seen by nothing but tables
GOLDEN = 0.618033988749895
TRAINED = 14  # frames of the small model


def buckets(frames: int) -> tuple[float, float]:
    """Return between which motion buckets the clips of a length lie.

    They are trained ones, and where that can be still are when they are raised with the stretch.
    """
    stretch = max(1.0, frames / TRAINED)
    slowest = max(BUCKETS[0], BUCKETS[1] / 2 / stretch)
    return slowest, max(1.25 * slowest, BUCKETS[1] / stretch)


@dataclass(frozen=True, slots=True)
class Made:
    """A video, (F, H, W, 3) in [0, 1], and the frames with which its windows or chunks begin."""

    video_FHW3: Array
    borders: tuple[int, ...] = ()


def table_clip(kind: str, seed: int, frames: int) -> Clip:
    """Return the clip of a table: the same for every method at a length, another for every world and seed.

    The longer the video, the slower the clip, so that all go about as far; the speeds of a length are spread evenly
    over the seeds.
    """
    slowest, fastest = buckets(frames)
    bucket = slowest + (fastest - slowest) * (seed * GOLDEN % 1.0)
    return draw_clip(TABLE_SEED + len(KINDS) * seed + KINDS.index(kind), kind, motion_bucket=bucket, fps=7.0)


def make(method: Method, frames: int, steps: int, clip: Clip, seed: int, model: Model, plugins: Plugins) -> Made:
    """Return what a method makes of a clip."""
    if method.special == "still":
        return Made(np.repeat(clip.render(1), frames, axis=0))
    if method.special == "truth":
        return Made(_through_the_vae(clip.render(frames), model))
    if method.special == "chain":
        return _chained(method, frames, steps, clip, seed, model, plugins)
    return _generated(clip.render(1)[0], method, frames, steps, clip, seed, model, plugins)


def _generated(
    first_HW3: Array, method: Method, frames: int, steps: int, clip: Clip, seed: int, model: Model, plugins: Plugins
) -> Made:
    from ...core.generate import generate
    from ...core.plan import make_plan

    options: dict[str, Any] = {
        "frames": frames,
        "steps": steps,
        "seed": seed,
        "motion_bucket": clip.motion_bucket,
        "fps": clip.fps,
    }
    image = np.rint(first_HW3 * 255).clip(0, 255).astype(np.uint8)
    result = generate(image, model=model, plugins=plugins, **options | method.options)
    windows = make_plan(result.config, model.facts).windows
    assert result.frames is not None
    return Made(result.frames / 255.0, tuple(windows.starts[1:]) if windows else ())


def _chained(method: Method, frames: int, steps: int, clip: Clip, seed: int, model: Model, plugins: Plugins) -> Made:
    """Make the trained number of frames again and again, each time from the last frame: what people do by hand."""
    video_FHW3, trained = clip.render(1), model.facts.trained
    while len(video_FHW3) < frames:
        grown = _generated(video_FHW3[-1], method, trained, steps, clip, seed, model, plugins)
        video_FHW3 = np.concatenate([video_FHW3[:-1], grown.video_FHW3])
    return Made(video_FHW3[:frames], tuple(range(trained - 1, frames, trained - 1)))


def _through_the_vae(video_FHW3: Array, model: Model) -> Array:
    import torch

    from ...core.decode import decode

    vae = model.pipeline.vae
    frames_FCHW = torch.from_numpy(video_FHW3).permute(0, 3, 1, 2).to(vae.dtype) * 2 - 1
    with torch.no_grad():
        latents_FCYX = vae.encode(frames_FCHW).latent_dist.mode() * vae.config.scaling_factor
    return np.concatenate(list(decode(model, latents_FCYX))) / 255.0
