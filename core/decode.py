"""From latents to pictures, a few frames at a time.

SVD's decoder mixes frames in two ways. Its convolutions over frames see neighbours: each chunk is decoded with some
frames more on both sides, which are then dropped; so many frames from a border the difference has died down. Its
group norms over frames see the whole video: their statistics are taken in a first pass over all chunks, merged, and
used in a second.

Shape suffixes: F = frames, C = channels, Y, X = latent rows, columns, H, W = pixel rows, columns.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .budget import FEWEST_DECODED, workspace_for
from .conditioning import precise_vae
from .engine.decoder import DecoderEngine
from .engine.moments import Moments, merge_moments
from .engine.split import Split
from .engine.wrapped import at_work

if TYPE_CHECKING:
    from .model import Model


logger = logging.getLogger("longtake")


@torch.no_grad()
def decode(
    model: Model, latents_FCYX: Tensor, *, chunk: int = 14, overlap: int = 4, ring: bool = False
) -> Iterator[np.ndarray]:
    """Yield the frames of one video in order, as arrays (up to ``chunk``, H, W, 3) in uint8.

    With at least as many frames in a chunk as in the video this equals decoding all at once; with fewer everything is
    decoded twice, and comes near it (docs/numerics.md says how near). Chunks of fewer than four are decoded several at
    a time: their norms would be measured on too few frames, and what overlaps takes more memory than that.

    Args:
        model: whose VAE decodes.
        latents_FCYX: of one video; batches are never mixed.
        chunk: frames decoded at a time.
        overlap: frames decoded in addition on each side, where there are any.
        ring: whether the first frame comes after the last one, so that each end is decoded with frames of the other.

    Raises:
        ValueError: chunk is not positive or overlap is negative.

    """
    if chunk < 1 or overlap < 0:
        raise ValueError(f"chunk must be positive and overlap not negative, got chunk={chunk} with overlap={overlap}")
    frames = len(latents_FCYX)
    with precise_vae(model) as vae, at_work(vae):
        engine, workspace = DecoderEngine(vae), workspace_for(model.device)
        unscaled_FCYX = 1 / vae.config.scaling_factor * latents_FCYX.to(model.device, vae.dtype)
        together = chunk * math.ceil(FEWEST_DECODED / chunk)
        parts = list(_parts(frames, together, overlap, ring))
        # Where there is room for all, once is enough; but a ring has no part that is all.
        if not ring and any(part.last - part.first == frames for part in parts):
            decoded_FCHW = engine.run(unscaled_FCYX, Split(workspace))
            yield from (to_pictures(each_FCHW) for each_FCHW in decoded_FCHW.split(chunk))
            return
        found = []
        for part in parts:
            found.append(Measuring(workspace, counted=part.inside))
            engine.run(unscaled_FCYX[part.frames_F % frames], found[-1])
        moments = [merge_moments(each) for each in zip(*(split.found for split in found), strict=True)]
        for part in parts:
            decoded_FCHW = engine.run(unscaled_FCYX[part.frames_F % frames], Told(workspace, moments=iter(moments)))
            yield from (to_pictures(each_FCHW) for each_FCHW in decoded_FCHW[slice(*part.inside)].split(chunk))


def decode_frugally(
    model: Model, latents_FCYX: Tensor, *, chunk: int = 14, overlap: int = 4, ring: bool = False
) -> Iterator[np.ndarray]:
    """Yield what :func:`decode` does; where the device runs out of memory, go on with chunks of half as many frames.

    Raises:
        OutOfMemoryError: there is too little for the smallest chunks.

    """
    done = 0  # frames that have been yielded
    while True:
        passed = 0
        try:
            for pictures_FHWC in decode(model, latents_FCYX, chunk=chunk, overlap=overlap, ring=ring):
                new_FHWC = pictures_FHWC[max(0, done - passed) :]
                passed += len(pictures_FHWC)
                if len(new_FHWC):
                    done += len(new_FHWC)
                    yield new_FHWC
            return
        except torch.OutOfMemoryError:
            if chunk <= FEWEST_DECODED:
                raise
        # Outside of the except block, so that nothing holds on to the tensors of the failed chunk.
        if model.device.type == "cuda":
            torch.cuda.empty_cache()
        chunk = max(FEWEST_DECODED, min(chunk, len(latents_FCYX)) // 2)
        logger.warning("out of memory while decoding; going on with %d frames at a time", chunk)


class Part(NamedTuple):
    """A chunk with its overlap: the first of its frames, the one after the last, and which of them are the chunk."""

    first: int
    last: int
    inside: tuple[int, int]

    @property
    def frames_F(self) -> Tensor:
        """Numbers of all frames, (F,); on a ring they may be beyond both ends."""
        return torch.arange(self.first, self.last)


def _parts(frames: int, chunk: int, overlap: int, ring: bool) -> Iterator[Part]:
    for start in range(0, frames, chunk):
        stop = min(start + chunk, frames)
        first, last = start - overlap, stop + overlap
        if not ring:
            first, last = max(0, first), min(frames, last)
        yield Part(first, last, (start - first, stop - first))


@dataclass(frozen=True, slots=True)
class Measuring(Split):
    """Work on one chunk that keeps the statistics of its temporal norms, in the order in which they come."""

    found: list[Moments] = field(default_factory=list)

    def merge(self, parts: list[Moments]) -> Moments:
        """Return the moments of the chunk, and keep them."""
        self.found.append(merge_moments(parts))
        return self.found[-1]


@dataclass(frozen=True, slots=True)
class Told(Split):
    """Work on one chunk with statistics of the whole video."""

    moments: Iterator[Moments] = field(default_factory=lambda: iter(()))

    def merge(self, parts: list[Moments]) -> Moments:
        """Return the moments of the whole video."""
        return next(self.moments)


def to_pictures(frames_FCHW: Tensor) -> np.ndarray:
    """Turn frames in [-1, 1] into (F, H, W, 3) in uint8, rounded as diffusers rounds."""
    pictures_FHWC = (frames_FCHW.float() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    return (pictures_FHWC.cpu().numpy() * 255).round().astype(np.uint8)
