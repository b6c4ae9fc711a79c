"""What strategies share that stretch the trained positions over more frames, and how to tell whether one does."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ..core.contracts import PositionalStrategy, Span
from ..core.embedding import trained_frequencies


class Stretched(PositionalStrategy):
    """A positional strategy with a factor, by default as far as the length asks for."""

    factor: float | None = Field(
        default=None, ge=1, allow_inf_nan=False, description="Stretch by this much; by default frames / trained frames."
    )

    def stretch(self, span: Span) -> float:
        """Return s >= 1: what a wrapping strategy decides, else the option, else T / L."""
        if span.factor is None and self.factor is not None:
            return self.factor
        return span.stretch


def takes_factor(strategy: PositionalStrategy) -> bool:
    """Whether a factor of 1 and a huge one make any difference, anywhere along the denoising."""
    for step in range(25):
        spans = [Span(frames=56, trained=14, progress=step / 24, factor=factor) for factor in (1.0, 1000.0)]
        try:
            if not torch.equal(*(_does(strategy, span) for span in spans)):
                return True
        except Exception:  # what cannot be asked about this length may well take a factor at another
            return True
    return False


def _does(strategy: PositionalStrategy, span: Span) -> Tensor:
    """Return all that a strategy may change, in a row."""
    positions_F = strategy.positions(torch.arange(span.frames, dtype=torch.float32), span)
    freqs_K = strategy.frequencies(trained_frequencies(64), span)
    return torch.cat([positions_F, freqs_K, torch.tensor([strategy.temperature(span)])])
