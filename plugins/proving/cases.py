"""One case of the table: a clip of a world, and the video that a method makes of its first frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ...core.contracts import Span
from .clips import BUCKETS, HELD_OUT_SEED, KINDS, Clip, draw_clip
from .method import Method
from .worlds.canvas import Array

if TYPE_CHECKING:
    from ...core.config import Config
    from ...core.manager import Plugins
    from ...core.model import Model

TABLE_SEED = HELD_OUT_SEED + 10_000  # clips from here on are seen by nothing but tables
FAST_SEED = 1000  # so that fast clips are other clips
CHUNK_SEED = 1_000_000  # so that each chunk of a chain has noise of its own
GOLDEN = 0.618033988749895
TRAINED = 14  # frames of the small model


def buckets(frames: int, *, fast: bool = False) -> tuple[float, float]:
    """Return between which motion buckets the clips of a length lie.

    They are trained ones, and where that can be still are when they are raised with the stretch; so a clip goes as far
    as one of the trained length, however long it is. Fast clips are as fast as trained ones, and go as far as that
    takes them.
    """
    stretch = 1.0 if fast else max(1.0, frames / TRAINED)
    slowest = max(BUCKETS[0], 2 / 3 * BUCKETS[1] / stretch)
    return slowest, max(1.25 * slowest, BUCKETS[1] / stretch)


def as_picture(frame_HW3: Array) -> Image.Image:
    """Return values in [0, 1] as an 8-bit picture."""
    return Image.fromarray(np.rint(frame_HW3 * 255).clip(0, 255).astype(np.uint8))


@dataclass(frozen=True, slots=True)
class Made:
    """A video, (F, H, W, 3) in [0, 1], and the frames with which its windows or chunks begin."""

    video_FHW3: Array
    borders: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """One clip of a table, the same for every method at a length.

    Attributes:
        kind: of world.
        seed: with the kind it is the clip.
        frames: of the video.
        fast: whether it is as fast as trained clips, whatever its length.

    """

    kind: str
    seed: int
    frames: int
    fast: bool = False

    @property
    def number(self) -> int:
        """Of the clip; from it come its world, its speed and the noise, so that clips are draws of their own."""
        return len(KINDS) * (self.seed + (FAST_SEED if self.fast else 0)) + KINDS.index(self.kind)

    def clip(self) -> Clip:
        """Return the clip; speeds are spread evenly over the numbers."""
        slowest, fastest = buckets(self.frames, fast=self.fast)
        bucket = slowest + (fastest - slowest) * (self.number * GOLDEN % 1.0)
        return draw_clip(TABLE_SEED + self.number, self.kind, motion_bucket=bucket, fps=7.0)


def make(method: Method, case: Case, steps: int, model: Model, plugins: Plugins) -> Made:
    """Return what a method makes of a clip."""
    clip, frames = case.clip(), case.frames
    if method.special == "still":
        return Made(np.repeat(clip.render(1), frames, axis=0))
    if method.special == "truth":
        return Made(_through_the_vae(clip.render(frames), model))
    first_HW3 = clip.render(1)[0]

    def generate(image_HW3: Array, **asked: Any) -> Made:
        told = {"frames": frames, "motion_bucket": clip.motion_bucket, "fps": clip.fps, "steps": steps}
        return _generated(image_HW3, told | {"seed": case.number} | asked | method.options, model, plugins)

    if method.special == "chain":
        return _chained(first_HW3, frames, model.facts.trained, case.number, generate)
    if method.special in ("held", "faded"):
        trained = min(model.facts.trained, frames)
        times = (frames - 1) / (trained - 1)  # as many steps as there are between the frames of the whole video
        few = generate(first_HW3, frames=trained, motion_bucket=clip.motion_bucket * times)
        return Made(_spread(few.video_FHW3, frames, fade=method.special == "faded"))
    if method.special == "end":
        with TemporaryDirectory() as folder:
            last = Path(folder) / "last.png"
            as_picture(clip.render(frames)[-1]).save(last)
            return generate(first_HW3, end_image=str(last))
    return generate(first_HW3)


def _spread(video_FHW3: Array, frames: int, *, fade: bool) -> Array:
    """Return a video of more frames, the ends in place: each frame held, or faded into the next."""
    place_F = np.linspace(0, len(video_FHW3) - 1, frames)
    if not fade:
        held_FHW3: Array = video_FHW3[place_F.round().astype(int)]
        return held_FHW3
    before_F = np.minimum(place_F.astype(int), len(video_FHW3) - 2)
    share_F111 = (place_F - before_F)[:, None, None, None]
    faded_FHW3: Array = (1 - share_F111) * video_FHW3[before_F] + share_F111 * video_FHW3[before_F + 1]
    return faded_FHW3


def _chained(first_HW3: Array, frames: int, trained: int, seed: int, generate: Callable[..., Made]) -> Made:
    """Make the trained number of frames again and again, each time from the last frame: what people do by hand."""
    video_FHW3 = first_HW3[None]
    while len(video_FHW3) < frames:
        noise = seed + CHUNK_SEED * (len(video_FHW3) // (trained - 1))
        grown = generate(video_FHW3[-1], frames=trained, seed=noise)
        video_FHW3 = np.concatenate([video_FHW3[:-1], grown.video_FHW3])
    return Made(video_FHW3[:frames], tuple(range(trained - 1, frames, trained - 1)))


def _generated(first_HW3: Array, options: dict[str, Any], model: Model, plugins: Plugins) -> Made:
    from ...core.generate import generate

    result = generate(as_picture(first_HW3), model=model, plugins=plugins, **options)
    assert result.frames is not None
    return Made(result.frames / 255.0, _borders(result.config, model.facts.trained))


def _borders(config: Config, trained: int) -> tuple[int, ...]:
    """Return the frames with which windows, or the new frames of chunks, begin: where a seam would be."""
    assert config.frames and config.attention and config.context and config.sampling
    span = Span(frames=config.frames, trained=trained)
    seen, chunks = config.sampling.seen(span), config.sampling.starts(span)
    if seen < config.frames:
        return tuple(start + seen for start in chunks[:-1])
    windows = config.context.windows(span) or config.attention.windows(span)
    return tuple(windows.starts[1:]) if windows else ()


def _through_the_vae(video_FHW3: Array, model: Model) -> Array:
    import torch

    from ...core.decoding.decode import decode

    vae = model.pipeline.vae
    frames_FCHW = torch.from_numpy(video_FHW3).permute(0, 3, 1, 2).to(vae.dtype) * 2 - 1
    with torch.no_grad():
        latents_FCYX = vae.encode(frames_FCHW).latent_dist.mode() * vae.config.scaling_factor
    return np.concatenate(list(decode(model, latents_FCYX))) / 255.0
