"""From latents to pictures, a few frames at a time.

SVD's decoder mixes frames in two ways. Its convolutions over frames see neighbours: each chunk is decoded with some
frames more on both sides, which are then dropped; so many frames from a border the difference has died down. Its
group norms over frames see the whole video: their statistics are taken in a first pass over all chunks, merged, and
used in a second.

Shape suffixes: F = frames, C = channels, Y, X = latent rows, columns, H, W = pixel rows, columns.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .budget import is_out_of_memory, workspace_for
from .conditioning import precise_vae
from .decode_budget import describe_decoding, free_on_host
from .engine.decode_memory import DecodePlan, together
from .engine.decoder import DecoderEngine
from .engine.moments import Moments, merge_moments
from .engine.split import Split
from .engine.wrapped import at_work

if TYPE_CHECKING:
    from .model import Model


logger = logging.getLogger("longtake")

NEAR = 1e-3  # of the range of a picture
PROBED_FRAMES = 33  # beyond 15 frames nothing has been seen to reach
PROBED_SIDE = 8  # latents


@torch.no_grad()
def decode(
    model: Model,
    latents_FCYX: Tensor,
    *,
    chunk: int = 14,
    overlap: int = 4,
    ring: bool = False,
    split: Split | None = None,
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
        split: how the work on what is decoded together is shared out; by default with the usual workspace.

    Raises:
        ValueError: chunk is not positive or overlap is negative.

    """
    if chunk < 1 or overlap < 0:
        raise ValueError(f"chunk must be positive and overlap not negative, got chunk={chunk} with overlap={overlap}")
    frames, split = len(latents_FCYX), split or Split(workspace_for(model.device))
    with precise_vae(model) as vae, at_work(vae):
        engine = DecoderEngine(vae)
        unscaled_FCYX = 1 / vae.config.scaling_factor * latents_FCYX.to(model.device, vae.dtype)
        parts = list(_parts(frames, together(chunk), overlap, ring))
        # Where there is room for all, once is enough; but a ring has no part that is all.
        if not ring and any(part.last - part.first == frames for part in parts):
            decoded_FCHW = engine.run(unscaled_FCYX, split)
            yield from (to_pictures(each_FCHW) for each_FCHW in decoded_FCHW.split(chunk))
            return
        found = []
        for part in parts:
            found.append(Found())
            engine.run(unscaled_FCYX[part.frames_F % frames], replace(split, counted=part.inside, merge=found[-1]))
        moments = [merge_moments(each) for each in zip(*(each.moments for each in found), strict=True)]
        for part in parts:
            told = replace(split, merge=Told(moments))
            decoded_FCHW = engine.run(unscaled_FCYX[part.frames_F % frames], told)
            yield from (to_pictures(each_FCHW) for each_FCHW in decoded_FCHW[slice(*part.inside)].split(chunk))


def decode_frugally(model: Model, latents_FCYX: Tensor, plan: DecodePlan) -> Iterator[np.ndarray]:
    """Yield what :func:`decode` does by a plan; where the device runs out of memory, go on with half of what it takes.

    Warns, by the logger ``longtake``, where the plan's overlap is too little for this decoder.

    Raises:
        OutOfMemoryError: there is too little for the smallest chunks.

    """
    done, looked = 0, False  # frames that have been yielded; whether the overlap has been looked at
    while True:
        passed = 0
        try:
            if not plan.all_at_once and not looked:
                _warn_if_it_looks_further(model, latents_FCYX, plan.work.overlap)
                looked = True
            for pictures_FHWC in decode(
                model,
                latents_FCYX,
                chunk=plan.chunk,
                overlap=plan.work.overlap,
                ring=plan.work.ring,
                split=plan.split(model.device),
            ):
                new_FHWC = pictures_FHWC[max(0, done - passed) :]
                passed += len(pictures_FHWC)
                if len(new_FHWC):
                    done += len(new_FHWC)
                    yield new_FHWC
            return
        except RuntimeError as error:
            smaller = plan.smaller(free_on_host()) if is_out_of_memory(error) else None
            if smaller is None:
                raise
        # Outside of the except block, so that nothing holds on to the tensors of the failed chunk.
        if model.device.type == "cuda":
            torch.cuda.empty_cache()
        plan = smaller
        logger.warning("out of memory while decoding; going on with %s", describe_decoding(plan))


def _warn_if_it_looks_further(model: Model, latents_FCYX: Tensor, overlap: int) -> None:
    """Warn where frames further away than the overlap change what is decoded, on a small piece of the video."""
    with precise_vae(model) as vae, at_work(vae):
        engine = DecoderEngine(vae)
        piece_FCYX = 1 / vae.config.scaling_factor * _middle(latents_FCYX).to(model.device, vae.dtype)
        frames, split = len(piece_FCYX), Split(workspace_for(model.device))
        place, found = frames // 2, Found()
        if overlap >= frames:
            return
        whole_CHW = engine.run(piece_FCYX, replace(split, merge=found))[place]
        for enough in range(overlap, frames):
            near = slice(max(0, place - enough), place + enough + 1)
            near_CHW = engine.run(piece_FCYX[near], replace(split, merge=Told(found.moments)))[min(place, enough)]
            difference = float((near_CHW - whole_CHW).abs().max()) / 2
            if enough == overlap:
                off = difference
            if difference < NEAR:
                break
    if off >= NEAR:
        logger.warning(
            "with overlap %d, frames that are decoded at a time are off by up to %.2g from decoding all at once: this "
            "decoder looks further; --decode-overlap %d is enough",
            *(overlap, off, enough),
        )


def _middle(latents_FCYX: Tensor) -> Tensor:
    """Return a small piece in the middle of a video."""
    for dim, size in ((0, PROBED_FRAMES), (2, PROBED_SIDE), (3, PROBED_SIDE)):
        all_of_it = latents_FCYX.shape[dim]
        latents_FCYX = latents_FCYX.narrow(dim, max(0, all_of_it - size) // 2, min(size, all_of_it))
    return latents_FCYX


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


class Found:
    """Merges the moments of a chunk, and keeps what it finds, in the order in which they come."""

    def __init__(self) -> None:
        self.moments: list[Moments] = []

    def __call__(self, parts: list[Moments]) -> Moments:
        """Return the moments of the chunk."""
        self.moments.append(merge_moments(parts))
        return self.moments[-1]


class Told:
    """Gives the moments of the whole video in the place of a chunk's own."""

    def __init__(self, moments: Sequence[Moments]) -> None:
        self._moments = iter(moments)

    def __call__(self, parts: list[Moments]) -> Moments:
        """Return the moments of the whole video."""
        return next(self._moments)


def to_pictures(frames_FCHW: Tensor) -> np.ndarray:
    """Turn frames in [-1, 1] into (F, H, W, 3) in uint8, rounded as diffusers rounds."""
    pictures_FHWC = (frames_FCHW.float() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    return (pictures_FHWC.cpu().numpy() * 255).round().astype(np.uint8)
