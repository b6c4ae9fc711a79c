"""Dynamic scaling: the factor follows the length that is asked for, and the denoising step."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Self

from pydantic import Field, model_validator
from torch import Tensor

from ..core.contracts import PositionalStrategy, Span
from ..core.named import Positional
from .linear import Linear
from .stretched import takes_factor

Share = Annotated[float, Field(ge=0, le=1)]


class Dynamic(PositionalStrategy):
    """Give another strategy its factor: from the actual length, and changing along the denoising if asked.

    Dynamic NTK (emozilla 2023) grows by α·T/L - (α - 1), which is T/L for α = 1. A share of 0 at a step means positions
    as in stock SVD, a share of 1 the whole stretch.
    """

    name = "dynamic"
    of: Positional = Field(default_factory=Linear, description="The strategy that is given the factor.")
    alpha: float = Field(
        default=1.0,
        ge=1,
        allow_inf_nan=False,
        description="How fast the factor grows with the length: α·T/L - (α - 1).",
    )
    first: float = Field(default=1.0, ge=0, le=1, description="Share of the stretch at the first, noisiest step.")
    last: float = Field(default=1.0, ge=0, le=1, description="Share of the stretch at the last step.")
    shares: tuple[Share, ...] | None = Field(
        default=None,
        min_length=2,
        description="Instead of first and last: shares at evenly spaced points of the denoising, linear in between.",
    )

    @model_validator(mode="after")
    def _means_something(self) -> Self:
        factor = getattr(self.of, "factor", None)
        if factor is not None:
            raise ValueError(
                f"dynamic gives {self.of.name!r} its factor, so its own must not be set, got factor={factor}"
            )
        if not takes_factor(self.of):
            raise ValueError(f"dynamic gives a strategy its factor, and {self.of.name!r} does not change with one")
        if self.shares is not None and (self.first, self.last) != (1.0, 1.0):
            raise ValueError(
                f"shares take the place of first and last, got shares={list(self.shares)} with first={self.first} and "
                f"last={self.last}"
            )
        return self

    def positions(self, frames_F: Tensor, span: Span) -> Tensor:
        """Return the wrapped strategy's positions at this factor."""
        return self.of.positions(frames_F, self._given(span)) if self.of.active(span.progress) else frames_F

    def frequencies(self, freqs_K: Tensor, span: Span) -> Tensor:
        """Return the wrapped strategy's frequencies at this factor."""
        return self.of.frequencies(freqs_K, self._given(span)) if self.of.active(span.progress) else freqs_K

    def temperature(self, span: Span) -> float:
        """Return the wrapped strategy's temperature at this factor."""
        return self.of.temperature(self._given(span)) if self.of.active(span.progress) else 1.0

    def slows(self) -> bool:
        """Return whether the wrapped strategy slows motion down."""
        return self.of.slows()

    def _given(self, span: Span) -> Span:
        longest = self.alpha * span.stretch - (self.alpha - 1)
        return replace(span, factor=1 + (longest - 1) * self._share(span.progress))

    def _share(self, progress: float) -> float:
        shares = self.shares or (self.first, self.last)
        place = progress * (len(shares) - 1)
        before = min(int(place), len(shares) - 2)
        return shares[before] + (shares[before + 1] - shares[before]) * (place - before)
