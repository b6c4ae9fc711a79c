"""The embedding of noise level and conditioning, worked out once for a step and projected once for each block.

The stock UNet repeats one embedding for every frame and projects the copies, in each call. Here there is one row for
all frames, or one for each where frames or videos are conditioned differently, and the calls of a step share it.

Shape suffixes: R = rows, 1 or one for each frame, C = channels.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class TimeEmbedding:
    """The embedding of a step.

    Args:
        embedding_RC: sum of the embeddings of sigma and of (fps - 1, motion bucket, augmentation).

    """

    def __init__(self, embedding_RC: Tensor) -> None:
        self._active_RC = functional.silu(embedding_RC)
        self._projected: dict[nn.Module, Tensor] = {}

    def project(self, linear: nn.Module) -> Tensor:
        """Return a block's projection of it, (R, C)."""
        if linear in self._projected:
            return self._projected[linear]
        projected_RC: Tensor = linear(self._active_RC)
        if len(projected_RC) == 1:  # of many rows all projections would be large
            self._projected[linear] = projected_RC
        return projected_RC


def rows_of(rows_RC: Tensor | None, chunk: slice) -> Tensor | None:
    """Return the rows of a chunk of frames, if there are any: the only one where all frames share it."""
    return rows_RC if rows_RC is None or len(rows_RC) == 1 else rows_RC[chunk]
