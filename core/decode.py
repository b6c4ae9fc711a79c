"""From latents to pictures, a few frames at a time.

SVD's decoder mixes neighbouring frames, so each chunk is decoded with some frames more on both sides, which are then
dropped: within ``overlap`` frames of a border the difference to decoding all at once has died down.

Shape suffixes: F = frames, C = channels, Y, X = latent rows, columns, H, W = pixel rows, columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .budget import workspace_for
from .conditioning import precise_vae
from .engine.decoder import DecoderEngine
from .engine.split import Split
from .engine.wrapped import at_work

if TYPE_CHECKING:
    from .model import Model


@torch.no_grad()
def decode(model: Model, latents_FCYX: Tensor, *, chunk: int = 14, overlap: int = 4) -> Iterator[np.ndarray]:
    """Yield the frames of one video in order, as arrays (up to ``chunk``, H, W, 3) in uint8.

    With at least as many frames in a chunk as in the video this equals decoding all at once.

    Args:
        model: whose VAE decodes.
        latents_FCYX: of one video; batches are never mixed.
        chunk: frames decoded at a time.
        overlap: frames decoded in addition on each side, where there are any.

    Raises:
        ValueError: chunk is not positive or overlap is negative.

    """
    if chunk < 1 or overlap < 0:
        raise ValueError(f"chunk must be positive and overlap not negative, got chunk={chunk} with overlap={overlap}")
    frames = len(latents_FCYX)
    with precise_vae(model) as vae, at_work(vae):
        engine, split = DecoderEngine(vae), Split(workspace_for(model.device))
        unscaled_FCYX = 1 / vae.config.scaling_factor * latents_FCYX.to(model.device, vae.dtype)
        for start in range(0, frames, chunk):
            stop = min(start + chunk, frames)
            first, last = max(0, start - overlap), min(frames, stop + overlap)
            decoded_FCHW = engine.run(unscaled_FCYX[first:last], split)
            yield to_pictures(decoded_FCHW[start - first : stop - first])


def to_pictures(frames_FCHW: Tensor) -> np.ndarray:
    """Turn frames in [-1, 1] into (F, H, W, 3) in uint8, rounded as diffusers rounds."""
    pictures_FHWC = (frames_FCHW.float() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    return (pictures_FHWC.cpu().numpy() * 255).round().astype(np.uint8)
