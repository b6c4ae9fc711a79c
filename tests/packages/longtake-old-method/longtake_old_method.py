"""A strategy whose method lacks an argument of the contract."""

from __future__ import annotations

from collections.abc import Callable

import torch

import longtake


class Still(longtake.PositionalStrategy):
    """Leave every frame where it is."""

    name = "still"

    def positions(self, frames_F: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """Lack the span."""
        return frames_F


@longtake.hookimpl
def longtake_register_strategies(register: Callable[[type], None]) -> None:
    """Offer it."""
    register(Still)
