"""What strategies that cut the video into windows have in common: their size, their distance, how they are fused."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from ...core.contracts import AttentionStrategy, Span
from ...core.errors import ConfigError
from ...core.windows import Fuse


class Windowed(AttentionStrategy):
    """Attend within windows; a subclass says where they begin."""

    window: int | None = Field(default=None, ge=2, description="Frames in a window; by default the trained length.")
    stride: int | None = Field(
        default=None, ge=1, description="Frames between windows; by default a quarter of the window."
    )
    positions: Literal["global", "local"] = Field(
        default="global",
        description="global: frames keep their place in the video; local: each window counts from zero, at about "
        "window / stride times the cost of the temporal block.",
    )
    fuse: Fuse = Field(
        default="pyramid",
        description="How windows over the same frame are weighted. flat: all the same; pyramid: rising evenly to the "
        "middle of each; overlap-linear: even, with ramps over the frames shared with the neighbours; gaussian: a bell "
        "with a standard deviation of a sixth of the window; delayed-sawtooth: falling evenly over the second half, "
        "while the first half hardly counts.",
    )

    @model_validator(mode="after")
    def _stride_fits(self) -> Self:
        if self.window is not None and self.stride is not None and self.stride > self.window:
            raise ValueError(
                f"stride must not exceed the window, got stride={self.stride} with window={self.window}; "
                f"frames between the windows would be lost"
            )
        return self

    def size_and_stride(self, span: Span) -> tuple[int, int] | None:
        """Return the frames in a window and those between windows; None where there is nothing to cut."""
        size = self.window or span.trained
        if span.frames <= max(size, span.trained):
            return None
        stride = self.stride or max(1, size // 4)
        if stride > size:
            raise ConfigError(f"attention.stride must not exceed the window, got stride={stride} with window={size}")
        return size, stride
