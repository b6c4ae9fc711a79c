"""The whole video's slow, wide changes with the neighbours' fast, fine ones (FreeLong).

Shape suffixes: P = pixels, N = heads, F = frames, D = channels per head, Y, X = rows, columns, K = frequencies over
frames that are not negative.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from ...core.contracts import AttentionStrategy, Span


class Spectral(AttentionStrategy):
    """Take low frequencies, over frames, rows and columns, from full attention, and high ones from that to neighbours.

    FreeLong (Lu et al. 2024, arXiv 2407.19918): over more frames than in training, full attention keeps the video in
    one piece but loses fine detail, attention to neighbours the other way round. Both are worked out and blended by a
    Gaussian filter of three-dimensional frequencies. The blend needs all pixels at a time, and so more memory the
    longer the video; where rows and columns are not known, it takes the pixels for one row. With at most as many frames
    as the model was trained on, nothing changes.
    """

    name = "spectral"
    radius: int | None = Field(
        default=None, ge=1, description="Neighbours seen on each side; by default half the trained length."
    )
    time: float = Field(
        default=0.25,
        gt=0,
        le=1,
        description="Where frequencies over frames begin to be high, in shares of the highest.",
    )
    space: float = Field(
        default=0.25, gt=0, le=1, description="Where those over rows and columns do, in shares of the highest."
    )

    def whole_frames(self, span: Span) -> bool:
        """Return whether there is anything to blend."""
        return span.frames > span.trained

    def attend(self, q_PNFD: Tensor, k_PNFD: Tensor, v_PNFD: Tensor, span: Span, scale: float | None) -> Tensor:
        """Return the blend, (P, N, F, D)."""
        full_PNFD = super().attend(q_PNFD, k_PNFD, v_PNFD, span, scale)
        if span.frames <= span.trained:
            return full_PNFD
        frames_F = torch.arange(span.frames, device=q_PNFD.device)
        near_FF = (frames_F[:, None] - frames_F).abs() <= (self.radius or max(1, span.trained // 2))
        local_PNFD = scaled_dot_product_attention(q_PNFD, k_PNFD, v_PNFD, attn_mask=near_FF, scale=scale)
        rows, columns = (1, len(q_PNFD)) if span.rows is None or span.columns is None else (span.rows, span.columns)
        exact = torch.promote_types(q_PNFD.dtype, torch.float32)
        low_YXK1 = low_pass((rows, columns, span.frames), (self.space, self.space, self.time)).to(q_PNFD.device, exact)
        for head in range(q_PNFD.shape[1]):  # one after another, for the memory that frequencies take
            # low · full + (1 - low) · local, with one transform: local + low · (full - local).
            apart_PFD = full_PNFD[:, head].to(exact) - local_PNFD[:, head]
            waves_YXKD = torch.fft.rfftn(apart_PFD.unflatten(0, (rows, columns)), dim=(0, 1, 2)).mul_(low_YXK1)
            lowered_YXFD = torch.fft.irfftn(waves_YXKD, s=(rows, columns, span.frames), dim=(0, 1, 2))
            local_PNFD[:, head] += lowered_YXFD.flatten(0, 1)
        return local_PNFD


def low_pass(sizes: tuple[int, int, int], cutoffs: tuple[float, float, float]) -> Tensor:
    """Return how much of each frequency over rows, columns and frames is low, (Y, X, K, 1) in float64.

    A Gaussian of the frequencies in shares of the highest one, with the cut-offs for standard deviations.
    """
    waves = (torch.fft.fftfreq, torch.fft.fftfreq, torch.fft.rfftfreq)  # of real numbers half the frequencies suffice
    y, x, k = (
        (2 * wave(size, dtype=torch.float64) / cutoff) ** 2
        for wave, size, cutoff in zip(waves, sizes, cutoffs, strict=True)
    )
    return torch.exp(-0.5 * (y[:, None, None] + x[:, None] + k))[..., None]
