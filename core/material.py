"""What a generation is made from: the start image, an image that it goes to, a video that it continues.

Shape suffixes: B = batch, F = frames, K = frames that are known, C = latent channels, Y, X = latent rows, columns,
H, W = rows, columns, 3 = red, green, blue.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor

from .conditioning import Conditioning, encode_images, end_ramp, going_to
from .config import EMBEDDED
from .footage import Frames, encode_video, fit_video, read_video
from .image import EXAMPLE, ImageLike, example_image, fit_image, read_image

if TYPE_CHECKING:
    from .config import Config
    from .model import Model

logger = logging.getLogger("longtake")

TOY_SIDE = 32  # pixels of the embedded model's worlds
REAL_MODEL = "stabilityai/stable-video-diffusion-img2vid-xt"


@dataclass(frozen=True, slots=True)
class Material:
    """Pictures, as read or at the size of the video.

    Attributes:
        start: the start image.
        end: that the video goes to, if any.
        earlier_FHW3: the video that is continued, if any.
        from_earlier: whether the start image is a frame of that.

    """

    start: Image.Image
    end: Image.Image | None = None
    earlier_FHW3: Frames | None = None
    from_earlier: bool = False

    @property
    def portrait(self) -> bool:
        """Whether the pictures are higher than wide."""
        return self.start.height > self.start.width

    def known(self, shared: int) -> Frames | None:
        """Return the last frames of the video that is continued, which the new ones go on from."""
        return None if self.earlier_FHW3 is None else self.earlier_FHW3[-shared:]

    def fitted(self, config: Config, shared: int) -> Material:
        """Return everything at the size of the video; a start image that was not given is the first known frame."""
        assert config.width and config.height
        size = (config.width, config.height, config.fit)
        earlier = None if self.earlier_FHW3 is None else fit_video(self.earlier_FHW3, *size)
        fitted = replace(self, end=self.end and fit_image(self.end, *size), earlier_FHW3=earlier)
        known = fitted.known(shared)
        start = Image.fromarray(known[0]) if self.from_earlier and known is not None else self.start
        return replace(fitted, start=fit_image(start, *size))


def read_material(picture: ImageLike | None, config: Config) -> Material:
    """Read whatever a config names, and the start image, which need not be a file.

    Raises:
        LongtakeError: something is not there or cannot be read.

    """
    earlier = read_video(Path(config.continues)) if config.continues else None
    end = read_image(config.end_image) if config.end_image else None
    if picture is None:
        assert earlier is not None, "there is an image or a video to continue"
        material = Material(Image.fromarray(earlier[-1]), end, earlier, from_earlier=True)
    else:
        material = Material(read_image(picture), end, earlier)
    if config.model == EMBEDDED:
        say_if_foreign_to_toy(material.start, material.end)
    return material


def say_if_foreign_to_toy(*pictures: Image.Image | None) -> None:
    """Warn that the embedded model is a toy where it meets a picture that is not of its worlds.

    Those are drawn at its own size; the only larger picture of them is the example that ships.
    """
    own = (TOY_SIDE, TOY_SIDE)
    foreign = [each for each in pictures if each and each.size != own and not _is_example(each)]
    if foreign:
        say_once_of_toy(*foreign[0].size)


@cache
def say_once_of_toy(width: int, height: int) -> None:
    """Warn of the toy, once in a process for each size of a picture."""
    logger.warning(
        "this is the embedded model, a toy of %dx%d pixels that knows five drawn worlds (pan, zoom, orbit, comet,"
        " two) and no photographs: it will not show what is in your picture of %dx%d. Name a real model, such as"
        " --model %s (in Python model=...), or try the toy with its own image: longtake generate %s",
        *(TOY_SIDE, TOY_SIDE, width, height, REAL_MODEL, EXAMPLE),
    )


def _is_example(picture: Image.Image) -> bool:
    with Image.open(example_image()) as example:
        return picture.size == example.size and picture.tobytes() == example.convert("RGB").tobytes()


def encode_material(
    model: Model, material: Material, config: Config, shared: int, generator: torch.Generator
) -> tuple[Conditioning, Tensor | None]:
    """Return what the UNet is told of images, and the latents that the video begins with, (B, K, C, Y, X), if any."""
    assert config.frames
    conditioning = encode_images(model, [material.start], config.noise_aug, generator)
    if material.end:
        ends_F = end_ramp(config.frames, config.end_frames or max(1, config.frames // 3))
        conditioning = going_to(conditioning, model, material.end, ends_F, generator)
    known = material.known(shared)
    return conditioning, None if known is None else encode_video(model, known)[None]
