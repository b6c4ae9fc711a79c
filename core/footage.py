"""Videos that are there already: read, to be measured or to be continued.

Shape suffixes: F = frames, H, W = rows, columns, 3 = red, green, blue, C = latent channels, Y, X = latent rows,
columns.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import imageio.v3 as iio
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from .conditioning import precise_vae, to_pixels
from .errors import LongtakeError
from .finite import check_finite
from .image import fit_image

if TYPE_CHECKING:
    from .model import Model

Frames = NDArray[np.uint8]
TEXTS = ("ansi", "bintext", "idf", "xbin")  # what FFmpeg makes of text files: pictures of their letters
SMALLEST = 8  # rows and columns; in less no motion can be seen


def read_video(path: Path) -> Frames:
    """Read a video file, a folder of PNGs, or an array, as (F, H, W, 3) in uint8.

    Raises:
        LongtakeError: it is not there or cannot be read, or it holds no video.

    """
    if not path.exists():
        raise LongtakeError(f"video {path} does not exist")
    try:
        frames = _read(path)
    except (OSError, ValueError, EOFError) as error:
        raise LongtakeError(f"video {path} cannot be read: {error}") from None
    if not len(frames):
        raise LongtakeError(f"video {path} has no frames")
    if frames.ndim != 4 or frames.shape[-1] < 3 or frames.dtype != np.uint8:
        raise LongtakeError(f"video {path} must hold (F, H, W, 3) in uint8, got {frames.shape} in {frames.dtype}")
    if min(frames.shape[1:3]) < SMALLEST:
        raise LongtakeError(f"video {path} must have at least {SMALLEST} rows and columns, got {frames.shape[1:3]}")
    return frames[..., :3]


def _read(path: Path) -> Frames:
    if path.is_dir():
        files = sorted(path.glob("*.png"))
        if not files:
            raise LongtakeError(f"folder {path} holds no PNGs")
        return np.stack([iio.imread(file) for file in files])
    if path.suffix.lower() == ".npy":
        array: Frames = np.load(path)
        return array
    if path.suffix.lower() in (".gif", ".webp"):
        return np.stack(list(iio.imiter(path, plugin="pillow")))
    if iio.immeta(path, plugin="pyav").get("codec") in TEXTS:
        raise ValueError("it holds text")
    return np.stack(list(iio.imiter(path, plugin="pyav")))


def rate_of(path: Path) -> float | None:
    """Return the frames per second that a video file is shown at, if it says so."""
    if path.is_dir() or path.suffix.lower() == ".npy":
        return None
    try:
        if path.suffix.lower() not in (".gif", ".webp"):
            return float(iio.immeta(path, plugin="pyav").get("fps") or 0) or None
        with Image.open(path) as picture:
            picture.load()  # before that a WebP does not tell
            milliseconds = float(picture.info.get("duration") or 0)
            return 1000 / milliseconds if milliseconds else None
    except (OSError, ValueError):
        return None


def fit_video(frames_FHW3: Frames, width: int, height: int, fit: Literal["crop", "pad"]) -> Frames:
    """Return a video at exactly (width, height), its aspect ratio kept; see :func:`longtake.core.image.fit_image`."""
    return np.stack([np.asarray(fit_image(Image.fromarray(frame), width, height, fit)) for frame in frames_FHW3])


@torch.no_grad()
def encode_video(model: Model, frames_FHW3: Frames) -> Tensor:
    """Return the latents of frames, (F, C, Y, X) in float32, scaled by the VAE's scaling factor."""
    with precise_vae(model) as vae:
        # One by one: the encoder knows nothing of other frames, and the memory of one is enough.
        latents = [
            vae.encode((to_pixels(Image.fromarray(frame))[None] * 2 - 1).to(model.device, vae.dtype)).latent_dist.mode()
            for frame in frames_FHW3
        ]
        known_FCYX = check_finite(torch.cat(latents), "the latents of the video")
        return known_FCYX.float() * float(vae.config.scaling_factor)
