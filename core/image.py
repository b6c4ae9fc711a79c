"""The start image: read, turned upright, flattened, and fitted to the model's size."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from .errors import ImageError

EXAMPLE = "example"
ImageLike = str | Path | Image.Image | np.ndarray


def example_image() -> Path:
    """Return the path of the start image that ships with longtake."""
    return Path(__file__).parent / "embedded" / "example.png"


def read_image(source: ImageLike) -> Image.Image:
    """Return an upright RGB picture without alpha.

    Args:
        source: a file in any format Pillow reads, ``"example"``, a PIL image, or an array (H, W, 3) in uint8.

    Raises:
        ImageError: the file is missing, cannot be read, or is no image.

    """
    if isinstance(source, np.ndarray):
        if source.ndim != 3 or source.shape[-1] != 3 or source.dtype != np.uint8:
            raise ImageError(f"an image array must be (H, W, 3) in uint8, got {source.shape} in {source.dtype}")
        return Image.fromarray(source)
    if isinstance(source, Image.Image):
        return _upright_rgb(source)
    if not isinstance(source, str | Path):
        raise ImageError(
            f"an image should be a file, {EXAMPLE!r}, a PIL image or an array (H, W, 3) in uint8, got "
            f"{type(source).__name__}"
        )
    path = Path(source)
    if str(source) == EXAMPLE and not path.exists():
        path = example_image()
    try:
        with Image.open(path) as image:
            return _upright_rgb(image)
    except FileNotFoundError:
        raise ImageError(f"image {path} does not exist") from None
    except UnidentifiedImageError:
        raise ImageError(f"image {path} is not in a format that can be read") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImageError(f"image {path} cannot be read: {error}") from None


def _upright_rgb(image: Image.Image) -> Image.Image:
    image = ImageOps.exif_transpose(image)
    if image.mode in ("I;16", "I", "F"):
        # Pillow clips high bit depths when converting; scale them instead.
        values = np.asarray(image, dtype=np.float64)
        if not np.isfinite(values).all():
            raise ImageError("an image in floating point must be finite, and some pixels of this one are not")
        top = values.max() if image.mode == "F" else 65535.0
        image = Image.fromarray(np.uint8(np.clip(values / (top or 1.0), 0, 1) * 255))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        image = Image.alpha_composite(white, rgba)
    return image.convert("RGB")


def fit_image(image: Image.Image, width: int, height: int, how: Literal["crop", "pad"]) -> Image.Image:
    """Return the image at exactly (width, height), its aspect ratio kept by cutting edges off or by black bars."""
    if image.size == (width, height):
        return image
    fit = ImageOps.fit if how == "crop" else ImageOps.pad
    return fit(image, (width, height), Image.Resampling.LANCZOS)
