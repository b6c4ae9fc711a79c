"""What context strategies share that let the UNet see one window of the video at a time.

Shape suffixes: F = frames of a window, T = frames of the video, C = latent channels, Y, X = latent rows, columns.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from ...core.contracts import ContextStrategy, Span, Windows
from ...core.errors import ConfigError
from ...core.windows import Fuse, fused_weights


class Windowed(ContextStrategy):
    """A context strategy with windows.

    SVD gives the start image to every frame, so a late window that counts from zero shows the start again. Three things
    can be done about it: let frames keep their places in the video (``positions: global``), let the image fade with the
    distance from the start (``image: faded``), or give a window its own first frame, as the window before has it, for
    an image (``image: overlap``).
    """

    ring: ClassVar[bool] = False  # whether windows go on over the end into the beginning
    window: int | None = Field(default=None, ge=2, description="Frames in a window; by default the trained length.")
    overlap: int | None = Field(
        default=None, ge=1, description="Frames that neighbouring windows share; by default a quarter of the window."
    )
    fuse: Fuse = Field(default="pyramid", description="What the frames of a window count for, before they are scaled.")
    positions: Literal["global", "local"] = Field(
        default="global", description="global: frames keep their place in the video; local: each window counts from 0."
    )
    image: Literal["start", "faded", "overlap"] = Field(
        default="start",
        description="What later windows see of an image: the start image, ever less of it, or their own first frame as "
        "the window before predicts it.",
    )
    reach: float = Field(
        default=1.0,
        gt=0,
        allow_inf_nan=False,
        description="Trained lengths after which half of a faded image is left.",
    )

    @model_validator(mode="after")
    def _overlap_fits(self) -> Self:
        if self.window is not None and self.overlap is not None and self.overlap >= self.window:
            raise ValueError(
                f"overlap must be less than the window, got overlap={self.overlap} with window={self.window}"
            )
        return self

    def starts(self, span: Span, size: int, stride: int) -> list[int]:
        """Return where windows begin; every frame must be in one."""
        raise NotImplementedError(f"context strategy {self.name!r} has no method starts")

    def windows(self, span: Span) -> Windows | None:
        """Return windows that overlap, or None for a video that is no longer than one, or than in training."""
        size = self.window or span.trained
        if span.frames <= max(size, span.trained):
            return None
        overlap = self.overlap or max(1, size // 4)
        if overlap >= size:
            raise ConfigError(f"context.overlap must be less than the window, got overlap={overlap} with window={size}")
        starts = self.starts(span, size, size - overlap)
        weights_WF = fused_weights(span.frames, size, starts, self.fuse, ring=self.ring)
        return Windows(size, starts, weights_WF, self.positions == "local", self.ring)

    def image_latents(self, images_FCYX: Tensor, frames_F: Tensor, before_TCYX: Tensor, span: Span) -> Tensor:
        """Return the start image's latents, what is left of them, or those of the window's own first frame."""
        if self.image == "faded":
            beyond_F = (frames_F - (span.trained - 1)).clamp(min=0) / (self.reach * span.trained)
            exact = torch.promote_types(images_FCYX.dtype, torch.float32)
            left_F111 = (0.5**beyond_F).to(images_FCYX.device, exact)[:, None, None, None]
            return (images_FCYX * left_F111).to(images_FCYX.dtype)
        first_CYX = before_TCYX[frames_F[0]]
        if self.image == "overlap" and frames_F[0] > 0 and not bool(first_CYX.isnan().any()):
            return first_CYX.to(images_FCYX).expand_as(images_FCYX)
        return images_FCYX
