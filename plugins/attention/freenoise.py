"""Windows in temporal attention, fused with weights (FreeNoise: Qiu et al. 2023, arXiv 2310.15169, section 3.3)."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from ...core.contracts import AttentionStrategy, Span, Windows
from ...core.errors import ConfigError
from ...core.windows import fused_weights, window_starts


class FreeNoiseWindows(AttentionStrategy):
    """Attend within overlapping windows of the trained length and fuse them, weighted towards their middles.

    Only temporal attention is windowed: SVD gives the start image to every frame, so running the whole UNet on late
    windows would start the video again. With at most as many frames as the model was trained on, nothing changes.
    """

    name = "freenoise"
    window: int | None = Field(default=None, ge=2, description="Frames in a window; by default the trained length.")
    stride: int | None = Field(
        default=None, ge=1, description="Frames between windows; by default a quarter of the window."
    )
    positions: Literal["global", "local"] = Field(
        default="global",
        description="global: frames keep their place in the video; local: each window counts from zero, at about "
        "window / stride times the cost of the temporal block.",
    )

    @model_validator(mode="after")
    def _stride_fits(self) -> Self:
        if self.window is not None and self.stride is not None and self.stride > self.window:
            raise ValueError(
                f"stride must not exceed the window, got stride={self.stride} with window={self.window}; "
                f"frames between the windows would be lost"
            )
        return self

    def windows(self, span: Span) -> Windows | None:
        """Return windows every ``stride`` frames, the last one ending on the last frame."""
        size = self.window or span.trained
        if span.frames <= max(size, span.trained):
            return None
        stride = self.stride or max(1, size // 4)
        if stride > size:
            raise ConfigError(f"attention.stride must not exceed the window, got stride={stride} with window={size}")
        starts = window_starts(span.frames, size, stride)
        return Windows(size, starts, fused_weights(span.frames, size, starts), self.positions == "local")
