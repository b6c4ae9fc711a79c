"""Deep features that are used again: what the coarse levels of the UNet give changes little from step to step.

An approximation, and off unless it is asked for: in most steps only the blocks next to input and output run, on what
the rest gave in an earlier step (DeepCache; Ma, Fang and Wang 2024, arXiv 2312.00858).
"""

from __future__ import annotations

from collections.abc import Hashable

from .split import Source


def works_everything_out(step: int, steps: int, every: int | None) -> bool:
    """Whether a step uses nothing of an earlier one: each ``every``-th, and the last, which nothing mends."""
    return step % (every or 1) == 0 or step == steps - 1


class Reuse:
    """What the deep levels gave in an earlier call, for each branch."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, Source] = {}

    def forget(self) -> None:
        """Let the next call of every branch work everything out."""
        self._kept.clear()

    def keep(self, branch: Hashable, source: Source) -> None:
        """Keep what the deep levels gave."""
        self._kept[branch] = source

    def of(self, branch: Hashable) -> Source | None:
        """Return what they gave in an earlier call, if anything is kept."""
        return self._kept.get(branch)
