"""A small picture of the video as it is so far, after every step: ``--preview FILE``.

Latents become colours by a linear map that is fitted, for each run, to the start image and its own latents: this
needs no decoder, no constants, and works for any VAE.

Shape suffixes: F = frames, C = latent channels, Y, X = latent rows, columns, R = red, green, blue.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..core.conditioning import to_pixels
from ..core.files.limits import check_preview
from ..core.files.whole import whole_file
from ..core.hookspecs import hookimpl
from .finite import check

if TYPE_CHECKING:
    from ..core.run import Run, Step

SHOWN = 12
HEIGHT = 96


@hookimpl
def longtake_run_started(run: Run) -> None:
    """Find out that the picture cannot be written before anything is computed."""
    if run.config.preview:
        check_preview(Path(run.config.preview))


@hookimpl
def longtake_after_step(step: Step) -> None:
    """Write the prediction of this step, a sheet of up to 12 frames.

    Raises:
        ModelError: the prediction is not finite.

    """
    run = step.run
    if run is None or not run.config.preview or step.denoised is None:
        return
    check(step.denoised, "predicted latents", step)
    scaling = run.model.pipeline.vae.config.scaling_factor
    frames_FCYX = step.denoised[0].cpu().float() / scaling
    shown = torch.linspace(0, len(frames_FCYX) - 1, min(SHOWN, len(frames_FCYX))).round().long()
    image_latents_CYX = run.conditioning.image_latents_BCYX[0].cpu().float()
    map_CR = colour_map(image_latents_CYX, to_pixels(run.image))
    _write(sheet(to_colours(frames_FCYX[shown], map_CR)), Path(run.config.preview))


def colour_map(image_latents_CYX: Tensor, image_RHW: Tensor) -> Tensor:
    """Return the least-squares map from latents (and a constant) to colours, (C + 1, 3)."""
    small_RYX = torch.nn.functional.interpolate(image_RHW[None], image_latents_CYX.shape[1:], mode="area")[0]
    known_MC = _with_constant(image_latents_CYX.flatten(1).T)
    # A little ridge, for images of fewer colours than the latents have channels.
    ridge_CC = 1e-3 * len(known_MC) * torch.eye(known_MC.shape[1])
    map_CR: Tensor = torch.linalg.solve(known_MC.T @ known_MC + ridge_CC, known_MC.T @ small_RYX.flatten(1).T)
    return map_CR


def to_colours(latents_FCYX: Tensor, map_CR: Tensor) -> np.ndarray:
    """Return (F, Y, X, 3) in uint8."""
    colours_FYXR = _with_constant(latents_FCYX.permute(0, 2, 3, 1)) @ map_CR
    return (colours_FYXR.clamp(0, 1) * 255).round().byte().numpy()


def _with_constant(values: Tensor) -> Tensor:
    return torch.cat([values, torch.ones_like(values[..., :1])], dim=-1)


def sheet(frames_FYXR: np.ndarray) -> Image.Image:
    """Return frames in rows of four to six, enlarged to be seen."""
    count, rows, columns, _ = frames_FYXR.shape
    across = math.ceil(count / math.ceil(count / 6))
    size = (round(HEIGHT * columns / rows), HEIGHT)
    picture = Image.new("RGB", (across * size[0], math.ceil(count / across) * size[1]))
    for index, frame in enumerate(frames_FYXR):
        tile = Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC)
        picture.paste(tile, (index % across * size[0], index // across * size[1]))
    return picture


def _write(picture: Image.Image, path: Path) -> None:
    """Replace the picture in one go, so that a viewer never sees half of it."""
    with whole_file(path, f"preview {path}") as part:
        picture.save(part)
