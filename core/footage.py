"""Videos that are there already: read, to be measured or to be continued.

Shape suffixes: F = frames, H, W = rows, columns, 3 = red, green, blue, C = latent channels, Y, X = latent rows,
columns.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import av
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from .conditioning import precise_vae, to_pixels
from .errors import LongtakeError, first_line
from .files.clip import rate_of_clip, read_clip, stacked
from .finite import check_finite
from .image import fit_image
from .readable import fault_of
from .stills import read_animation, read_array, read_folder

if TYPE_CHECKING:
    from .model import Model

Frames = NDArray[np.uint8]
SMALLEST = 8  # rows and columns; in less no motion can be seen


def read_video(path: Path) -> Frames:
    """Read a video file, a folder of PNGs, or an array, as (F, H, W, 3) in uint8.

    Raises:
        LongtakeError: it is not there or cannot be read, or it holds no video.

    """
    if fault := fault_of(path, folder=True):
        raise LongtakeError(f"video {path} {fault}")
    try:
        frames = _read(path)
    except LongtakeError:
        raise
    except Exception as error:  # on damaged files the decoders raise whatever they stumble over
        why = "it takes more memory than there is" if isinstance(error, MemoryError) else first_line(error)
        raise LongtakeError(f"video {path} cannot be read: {why}") from None
    if not len(frames):
        raise LongtakeError(f"video {path} has no frames")
    if frames.ndim != 4 or frames.shape[-1] not in (3, 4) or frames.dtype != np.uint8:
        raise LongtakeError(f"video {path} must hold (F, H, W, 3) in uint8, got {frames.shape} in {frames.dtype}")
    if min(frames.shape[1:3]) < SMALLEST:
        raise LongtakeError(f"video {path} must have at least {SMALLEST} rows and columns, got {frames.shape[1:3]}")
    return frames[..., :3]


def _read(path: Path) -> Frames:
    if path.is_dir():
        return read_folder(path)
    if not path.stat().st_size:
        raise ValueError("it is empty")
    if path.suffix.lower() in (".npy", ".npz"):
        return read_array(path)
    if path.suffix.lower() in (".gif", ".webp"):
        return read_animation(path)
    return read_clip(path)


def rate_of(path: Path) -> float | None:
    """Return the frames per second that a video file is shown at, if it says so."""
    if path.is_dir() or path.suffix.lower() == ".npy":
        return None
    try:
        if path.suffix.lower() not in (".gif", ".webp"):
            return rate_of_clip(path)
        with Image.open(path) as picture:
            picture.load()  # before that a WebP does not tell
            milliseconds = float(picture.info.get("duration") or 0)
            return 1000 / milliseconds if milliseconds else None
    except (OSError, ValueError, av.FFmpegError):
        return None


def fit_video(frames_FHW3: Frames, width: int, height: int, fit: Literal["crop", "pad"]) -> Frames:
    """Return a video at exactly (width, height), its aspect ratio kept; see :func:`longtake.core.image.fit_image`."""
    if frames_FHW3.shape[1:3] == (height, width):
        return frames_FHW3
    return stacked(np.asarray(fit_image(Image.fromarray(frame), width, height, fit)) for frame in frames_FHW3)


@torch.no_grad()
def encode_video(model: Model, frames_FHW3: Frames) -> Tensor:
    """Return the latents of frames, (F, C, Y, X) in float32, scaled by the VAE's scaling factor."""
    with precise_vae(model) as vae:
        # One by one: the encoder knows nothing of other frames, and the memory of one is enough.
        latents = [
            vae.encode((to_pixels(Image.fromarray(frame))[None] * 2 - 1).to(model.device, vae.dtype)).latent_dist.mode()
            for frame in frames_FHW3
        ]
        known_FCYX = check_finite(torch.cat(latents), "the latents of the video contain")
        return known_FCYX.float() * float(vae.config.scaling_factor)
