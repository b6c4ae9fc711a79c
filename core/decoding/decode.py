"""From latents to pictures, a few frames at a time.

SVD's decoder mixes frames in two ways. Its convolutions over frames see neighbours: each chunk is decoded with some
frames more on both sides, which are then dropped; so many frames from a border the difference has died down. Its
group norms over frames see the whole video: their statistics are taken in a first pass over all chunks, merged, and
used in a second.

Shape suffixes: F = frames, C = channels, Y, X = latent rows, columns, H, W = pixel rows, columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..budget.devices import workspace_for
from ..conditioning import precise_vae
from ..engine.decode_memory import Part, parts
from ..engine.decoder import DecoderEngine
from ..engine.moments import Moments, merge_moments
from ..engine.split import Split
from ..engine.wrapped import at_work
from ..finite import check_finite

if TYPE_CHECKING:
    from ..model import Model


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

    The model is held until the last frame has come, or the generator is closed: other threads that use it wait.

    Raises:
        ValueError: chunk is not positive or overlap is negative.
        ModelError: the decoder gives numbers that are not finite.

    """
    if chunk < 1 or overlap < 0:
        raise ValueError(f"chunk must be positive and overlap not negative, got chunk={chunk} with overlap={overlap}")
    frames, split = len(latents_FCYX), split or Split(workspace_for(model.device))
    with precise_vae(model) as vae, at_work(vae):
        engine = DecoderEngine(vae)
        unscaled_FCYX = 1 / vae.config.scaling_factor * latents_FCYX.to(model.device, vae.dtype)
        for decoded_FCHW in decode_parts(engine, unscaled_FCYX, parts(frames, chunk, overlap, ring=ring), split):
            yield from (to_pictures(each_FCHW) for each_FCHW in decoded_FCHW.split(chunk))


def decode_parts(engine: DecoderEngine, unscaled_FCYX: Tensor, parts: list[Part], split: Split) -> Iterator[Tensor]:
    """Yield the pictures of each part, (F, 3, H, W) in about [-1, 1]; several are decoded twice.

    The first time for the statistics of norms over time, of which each part has its own.
    """
    frames = len(unscaled_FCYX)
    if len(parts) == 1 and parts[0].last - parts[0].first == frames:
        yield engine.run(unscaled_FCYX, split)
        return
    found = []
    for part in parts:
        found.append(Found())
        engine.run(unscaled_FCYX[part.frames_F % frames], replace(split, counted=part.inside, merge=found[-1]))
    moments = [merge_moments(each) for each in zip(*(each.moments for each in found), strict=True)]
    for part in parts:
        told = replace(split, merge=Told(moments))
        yield engine.run(unscaled_FCYX[part.frames_F % frames], told)[slice(*part.inside)]


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
    """Turn frames in [-1, 1] into (F, H, W, 3) in uint8, rounded as diffusers rounds.

    Raises:
        ModelError: some are not finite.

    """
    check_finite(frames_FCHW, "the decoded frames contain")
    pictures_FHWC = (frames_FCHW.float() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    return (pictures_FHWC.cpu().numpy() * 255).round().astype(np.uint8)
