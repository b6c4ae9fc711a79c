"""Neighbours and frames from all over the video, sharpened by how many they are (Video-Infinity)."""

from __future__ import annotations

import math

from torch import Tensor

from ...core.contracts import Span
from ...core.modifiers import times
from .strided import Strided


class LocalGlobal(Strided):
    """Let every frame see its neighbours and every n-th frame, with logits scaled by how many keys those are.

    Video-Infinity (Tan et al. 2024, arXiv 2406.16260): the more keys share a softmax, the flatter it is, so the logits
    of each query are multiplied by log(keys seen) / log(trained length): 1 where it sees as many as in training. With
    at most as many frames as the model was trained on, nothing changes.
    """

    name = "local-global"

    def attend(self, q_PNFD: Tensor, k_PNFD: Tensor, v_PNFD: Tensor, span: Span, scale: float | None) -> Tensor:
        """Return attention to the keys seen, (P, N, F, D)."""
        mask_FF = self.mask(span)
        if mask_FF is not None:
            # A query's factor on its logits is a factor on the query; of a single key it does not matter.
            factors_F = mask_FF.sum(dim=1).double().log() / math.log(max(span.trained, 2))
            q_PNFD = times(q_PNFD, factors_F)
        return super().attend(q_PNFD, k_PNFD, v_PNFD, span, scale)
