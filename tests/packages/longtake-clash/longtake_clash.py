"""Registers a strategy of its own, and then one under a name that is taken: both must go."""

from __future__ import annotations

from collections.abc import Callable

import longtake


class Fresh(longtake.PositionalStrategy):
    """Nobody else has this name."""

    name = "fresh"


class Linear(longtake.PositionalStrategy):
    """longtake itself has this name."""

    name = "linear"


@longtake.hookimpl
def longtake_register_strategies(register: Callable[[type], None]) -> None:
    """Offer both, the clashing one last."""
    register(Fresh)
    register(Linear)
