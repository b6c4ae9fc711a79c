"""The start image: read, turned upright, flattened, and fitted to the model's size."""

from __future__ import annotations

import logging
import os
import re
import shlex
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from .errors import ImageError
from .readable import fault_of

logger = logging.getLogger("longtake")

EXAMPLE = "example"
# Endings and beginnings of files that move: videos, animations, and arrays of frames.
MOVING = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".gif", ".webp", ".npy", ".npz")
VIDEOS = (
    rb"....ftyp(?!avif|avis|hei|hev|mif1|msf1)",  # MP4 and QuickTime, but not the pictures in their container
    rb"\x1aE\xdf\xa3",  # Matroska and WebM
    rb"RIFF....AVI ",
    rb"\x00\x00\x01[\xb3\xba]",  # MPEG
    rb"\x93NUMPY",
)
OTHERS = {
    rb"....ftyp(hei|hev|mif1|msf1)": "; it is a HEIC, as telephones make them: save it as a JPEG",
    rb"\s*<(\?xml|svg|!DOCTYPE svg)": "; it is a drawing (SVG): save it as a PNG",
    rb"%(PDF|!PS)": "; it is a page (PDF, PostScript): save it as a PNG",
}
NOT_READ = ("EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG")
ImageLike = str | Path | Image.Image | np.ndarray


def example_image() -> Path:
    """Return the path of the start image that ships with longtake."""
    return Path(__file__).parent / "embedded" / "example.png"


def read_image(source: ImageLike) -> Image.Image:
    """Return an upright RGB picture without alpha: of several in a file the first, which the log says.

    Args:
        source: a file in any format Pillow reads, ``"example"``, a PIL image, or an array (H, W, 3) in uint8.

    Raises:
        ImageError: the file is missing, cannot be read, or is no image; the source is something else.

    """
    if isinstance(source, np.ndarray):
        if source.ndim != 3 or source.shape[-1] != 3 or source.dtype != np.uint8 or not source.size:
            raise ImageError(f"an image array must be (H, W, 3) in uint8, got {source.shape} in {source.dtype}")
        return Image.fromarray(source)
    if isinstance(source, Image.Image):
        try:
            return upright_rgb(source)
        except ValueError as error:
            raise ImageError(f"the image given cannot be used: {error}") from None
    if not isinstance(source, str | Path):
        raise ImageError(
            f"an image must be a file's name, a PIL image or an array (H, W, 3) in uint8, got {type(source).__name__}"
        )
    if str(source) in ("", "."):
        raise ImageError("the image's name is empty; name a file, or 'example' for the one that ships with longtake")
    path = Path(source)
    return _read_file(example_image() if str(source) == EXAMPLE and not path.exists() else path)


def _read_file(path: Path) -> Image.Image:
    if fault := fault_of(path):
        raise ImageError(f"image {path} {fault}{_instead(path)}")
    try:
        with Image.open(path, formats=_formats()) as image:
            if getattr(image, "is_animated", False):
                logger.warning("%s holds several pictures; the first is the image%s", path, _instead(path))
            return upright_rgb(image)
    except UnidentifiedImageError:
        if hint := _instead(path):
            raise ImageError(f"image {path} is not a picture{hint}") from None
        why = (
            "is empty" if not path.stat().st_size else "is not in a format that can be read, such as PNG, JPEG or WebP"
        )
        raise ImageError(f"image {path} {why}") from None
    except Image.DecompressionBombError:
        raise ImageError(f"image {path} {too_large()}") from None
    except Exception as error:  # on damaged files Pillow raises whatever its decoders stumble over
        raise ImageError(f"image {path} cannot be read: {error or type(error).__name__}") from None


def too_large() -> str:
    """Say that a picture has more pixels than Pillow reads, as the end of a sentence."""
    return f"has more than {2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6} million pixels; make it smaller first"


def _formats() -> list[str]:
    """Return Pillow's formats but those that it knows by name only, or reads by starting another program."""
    Image.init()
    return [each for each in Image.ID if each not in NOT_READ]


def _instead(path: Path) -> str:
    """Return what to do with a path that may be a video, as the end of a sentence, or nothing."""
    if "://" in str(path) or re.match(r"https?:/", str(path)):
        return "; nothing is fetched: download it and name the file"
    if os.path.isdir(path):  # unlike pathlib's, with names of any length
        return (
            f"; name one picture of it, or continue its pictures as a video: longtake extend {shlex.quote(str(path))}"
        )
    if not os.path.isfile(path):
        return ""
    with path.open("rb") as file:
        beginning = file.read(16)
    for each, hint in OTHERS.items():
        if re.match(each, beginning, re.DOTALL):
            return hint
    if path.suffix.lower() not in MOVING and not any(re.match(each, beginning, re.DOTALL) for each in VIDEOS):
        return ""
    return f"; to continue a video: longtake extend {shlex.quote(str(path))} --frames 28 -o longer.mp4"


def upright_rgb(image: Image.Image) -> Image.Image:
    """Return a picture as it is looked at: turned as its camera says, on white, in 8 bits for each colour.

    Raises:
        ValueError: it has no pixels, or numbers or colours that mean nothing.

    """
    if not all(image.size):
        raise ValueError(f"it has {image.width} x {image.height} pixels")
    image = ImageOps.exif_transpose(image)
    if image.mode == "F" or image.mode.startswith("I"):
        # Pillow clips high bit depths when converting; scale them instead.
        values = np.asarray(image, dtype=np.float64)
        if not np.isfinite(values).all():
            raise ValueError("it holds numbers that are not finite")
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
