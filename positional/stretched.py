"""What strategies share that stretch the trained positions over more frames."""

from __future__ import annotations

from pydantic import Field

from ..core.contracts import PositionalStrategy, Span


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
