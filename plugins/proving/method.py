"""A row of the table: a set of options of a config, or one of the few things that are no single generation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Method:
    """One row of the table.

    Attributes:
        name: in the table.
        options: of a config; frames, seed, image, fps and motion bucket are those of the case.
        special: "truth", "still", "chain", "held" or "faded" for the rows that are no single generation; "end" where
            the truth's last frame is the end image; else empty.
        fast: whether its clips are as fast as trained ones whatever their length.

    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    special: str = ""
    fast: bool = False


# Nothing is stretched, and the motion bucket is the one asked for: what stock SVD does when asked for more frames. But
# it is not guided, which the small model has no need of, so that a row costs half; rows of their own show guidance.
STOCK: dict[str, Any] = {
    "positional": "none",
    "attention": "full",
    "noise": "independent",
    "guidance": {"name": "constant", "scale": 1},
    "motion": "constant",
}


def stock_with(name: str, **options: Any) -> Method:
    """Return stock SVD with something else."""
    return Method(name, STOCK | options)
