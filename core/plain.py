"""What every option has to be, in a config and in a strategy, before its own type and bounds are looked at."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

LARGEST = 2**63  # of two of them the product is still a number in float32, in which models compute


class Options(BaseModel):
    """Options with names: frozen, with no others, and with finite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _is_plain(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse what Python would take for a number and is none, and what no file, name or machine can hold."""
        booleans = bool in _types(cls.model_fields[str(info.field_name)].annotation)
        for each in _leaves(value):
            if isinstance(each, bool) and not booleans:
                raise ValueError(f"should not {'be' if each is value else 'contain'} a boolean, got {each}")
            if isinstance(each, int | float) and LARGEST < abs(each) < math.inf:
                digits = f"{each:.3g}" if isinstance(each, float) else f"an integer of {each.bit_length()} bits"
                raise ValueError(f"should be between -2^63 and 2^63 (9.2e18), got {digits}")
            if isinstance(each, str) and "\0" in each:
                raise ValueError("holds a character NUL, which no file and no name can have")
        return value


def _types(annotation: Any) -> Iterator[Any]:
    """Yield all types that an annotation names."""
    yield annotation
    for inner in get_args(annotation):
        yield from _types(inner)


def _leaves(value: Any) -> Iterator[Any]:
    """Yield the values in lists and mappings, but not those in a strategy by name, which checks its own."""
    if isinstance(value, dict) and "name" not in value:
        for key, inner in value.items():
            yield key
            yield from _leaves(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _leaves(inner)
    else:
        yield value
