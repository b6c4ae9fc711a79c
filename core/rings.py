"""Whether a video that is to be a loop closes: whether its last frame goes on to its first as neighbours do.

Shape suffixes: F = frames, C = channels, W = windows.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from torch import Tensor

from .embedding import embed

if TYPE_CHECKING:
    from .config import Config
    from .plan import Plan

logger = logging.getLogger("longtake")

MOST = 2.0  # times the largest step between neighbours that the step from the last frame to the first may be


def warn_if_open(config: Config, plan: Plan) -> None:
    """Warn of strategies that were chosen by hand and do not close, where a loop is asked for."""
    if config.loop:
        for kind in open_at(config, plan):
            logger.warning(
                "a loop is asked for, but %s %r does not go on from the last frame to the first; leave it out, and one "
                "is chosen that does",
                kind,
                getattr(config, kind).name,
            )


def open_at(config: Config, plan: Plan) -> list[str]:
    """Return the kinds of strategies, as a plan shows them, that do not close into a ring.

    Of attention it sees windows and masks, not what a strategy computes by itself.
    """
    calls = config.context.windows(plan.span) if config.context else None
    return [
        kind for kind, closed in _closed(config, plan, calls is not None and calls.local_positions) if not closed
    ] + (["context"] if calls is not None and not calls.ring else [])


def _closed(config: Config, plan: Plan, each_from_zero: bool) -> list[tuple[str, bool]]:
    windows, mask_FF = plan.windows, plan.mask_FF
    # Windows that count from zero have no place on the ring that could be wrong.
    placed = not each_from_zero and len(plan.positions_F) == plan.frames
    attention = windows.ring if windows is not None else mask_FF is None or _turns(mask_FF)
    return [
        ("positional", not placed or _joins(embed(plan.positions_F, plan.frequencies_K))),
        ("attention", attention),
        ("noise", getattr(config.noise, "closed", True)),
        ("guidance", all(_joins(scales_F[:, None]) for scales_F in plan.guidance_SF)),
        ("motion", all(_joins(each_F[:, None]) for each_SF in (plan.buckets_SF, plan.rates_SF) for each_F in each_SF)),
    ]


def _joins(values_FC: Tensor) -> bool:
    """Whether the step from the last frame to the first is hardly larger than those between neighbours."""
    if len(values_FC) < 2:
        return True
    usual_F = values_FC.diff(dim=0).norm(dim=1)
    return bool((values_FC[-1] - values_FC[0]).norm() <= MOST * usual_F.max())


def _turns(mask_FF: Tensor) -> bool:
    """Whether a mask says the same of every frame, all around the ring."""
    return bool((mask_FF == mask_FF.roll((1, 1), (0, 1))).all())
