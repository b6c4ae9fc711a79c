"""Far frames count for less: a factor on what they would be seen with (UltraViCo, 2025, arXiv 2511.20123)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ...core.contracts import AttentionStrategy, Span


class Decay(AttentionStrategy):
    """Let far frames count for less: positive logits of keys beyond half the trained length are multiplied by alpha.

    UltraViCo (2025, arXiv 2511.20123): with more frames than in training, attention is drawn to keys at distances that
    the model never saw, which blurs the video and makes it repeat itself. Negative logits stay, since a factor below 1
    would raise them. The logits are written out, in float32, for some queries at a time. With at most as many frames as
    the model was trained on, nothing changes.
    """

    name = "decay"
    alpha: float = Field(default=0.9, gt=0, le=1, description="Factor on positive logits of far keys; 1 = none.")
    distance: float | None = Field(
        default=None, ge=0, description="Keys more frames away are far; by default half the trained length."
    )

    def attend(self, q_PNFD: Tensor, k_PNFD: Tensor, v_PNFD: Tensor, span: Span, scale: float | None) -> Tensor:
        """Return attention with decayed logits, (P, N, F, D)."""
        frames, channels = q_PNFD.shape[2:]
        if frames <= span.trained:
            return super().attend(q_PNFD, k_PNFD, v_PNFD, span, scale)
        exact = torch.promote_types(q_PNFD.dtype, torch.float32)
        factors_FF = self._factors(span).to(q_PNFD.device, exact)
        keys_PNDF = k_PNFD.to(exact).mT * (channels**-0.5 if scale is None else scale)
        seen_PNFD = torch.empty_like(q_PNFD)
        # So many queries at a time that their logits in float32 take no more room than all queries in half precision.
        some = max(1, channels // 2)
        for start in range(0, frames, some):
            part = slice(start, start + some)
            logits_PNQF = q_PNFD[:, :, part].to(exact) @ keys_PNDF
            decayed_PNQF = torch.where(logits_PNQF > 0, factors_FF[part], 1.0).mul_(logits_PNQF)
            del logits_PNQF
            seen_PNFD[:, :, part] = decayed_PNQF.softmax(dim=-1).to(v_PNFD.dtype) @ v_PNFD
        return seen_PNFD

    def _factors(self, span: Span) -> Tensor:
        distance = span.trained / 2 if self.distance is None else self.distance
        frames_F = torch.arange(span.frames)
        far_FF = (frames_F[:, None] - frames_F).abs() > distance
        return torch.ones(far_FF.shape, dtype=torch.float64).masked_fill(far_FF, self.alpha)
