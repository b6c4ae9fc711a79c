"""Windows that close into a ring, for videos that are played again and again."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ...core.contracts import Span, Windows
from ...core.windows import fused_weights, ring_starts
from .windowed import Windowed


class Looped(Windowed):
    """Attend within windows that go on over the end of the video into its beginning, to be played in a loop.

    Every frame is covered as every other: there is no first and no last window. Where the stride does not divide the
    frames, windows are at most ``stride`` apart and their distances differ by one. What else couples frames, the
    convolutions over time in the UNet and in the decoder, sees no ring. With at most as many frames as the model was
    trained on, nothing changes.
    """

    name = "looped"
    positions: Literal["global", "local"] = Field(
        default="local",
        description="local: each window counts from zero, so that the ring has no seam, at about window / stride times "
        "the cost of the temporal block; global: frames keep their place in the video, so that the last and the first "
        "see each other as far away.",
    )

    def windows(self, span: Span) -> Windows | None:
        """Return windows around the ring, at most ``stride`` frames apart."""
        layout = self.size_and_stride(span)
        if layout is None:
            return None
        size, stride = layout
        starts = ring_starts(span.frames, size, stride)
        weights_WF = fused_weights(span.frames, size, starts, self.fuse, ring=True)
        return Windows(size, starts, weights_WF, self.positions == "local", ring=True)
