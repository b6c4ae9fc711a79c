"""What goes from block to block within one call of a model.

Shape suffixes: F = frames, C = channels, Y, X = rows, columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from .resblock import ResBlock
from .split import Source, Split
from .times import TimeEmbedding


@dataclass(slots=True)
class Walk:
    """The states on their way, which nobody else holds on to, and what stays the same from block to block.

    Attributes:
        states: of all frames, (F, C, Y, X).
        split: of the work.
        time: embedding of noise level and conditioning; None where a model has none.

    """

    states: Tensor
    split: Split
    time: TimeEmbedding | None

    def each(self, module: Callable[[Tensor], Tensor], channels: int) -> None:
        """Let a spatial module make new states of all frames; it works with so many channels at most."""
        source = self.split.source(self.states)
        whole = self.split.hold(source.shape[0])
        each = source.pixels * (source.shape[1] + channels) * self.states.element_size()
        for chunk in self.split.over_frames(source.shape[0], each):
            whole.put(chunk, module(source.read(chunk)))
        self.states = whole.states

    def resnet(self, block: ResBlock, source: Source | None = None) -> None:
        """Let a residual block make new states of these, or of another source."""
        self.states = block(source or self.split.source(self.states), self.time, self.split)
