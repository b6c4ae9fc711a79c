"""Windows in temporal attention, fused with weights (FreeNoise: Qiu et al. 2023, arXiv 2310.15169, section 3.3)."""

from __future__ import annotations

from ...core.contracts import Span, Windows
from ...core.windows import fused_weights, window_starts
from .windowed import Windowed


class FreeNoiseWindows(Windowed):
    """Attend within overlapping windows of the trained length and fuse them, weighted towards their middles.

    Only temporal attention is windowed: SVD gives the start image to every frame, so running the whole UNet on late
    windows would start the video again. With at most as many frames as the model was trained on, nothing changes.
    The weights of the paper (Qiu et al. 2023, arXiv 2310.15169, section 3.3) are ``pyramid``.
    """

    name = "freenoise"

    def windows(self, span: Span) -> Windows | None:
        """Return windows every ``stride`` frames, the last one ending on the last frame."""
        layout = self.size_and_stride(span)
        if layout is None:
            return None
        size, stride = layout
        starts = window_starts(span.frames, size, stride)
        weights_WF = fused_weights(span.frames, size, starts, self.fuse)
        return Windows(size, starts, weights_WF, self.positions == "local")
