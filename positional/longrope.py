"""LongRoPE: a factor of its own for each frequency (Ding et al. 2024, arXiv 2402.13753)."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)
from torch import Tensor

from ..core.contracts import PositionalStrategy, Span
from ..core.documents import read_text, read_yaml
from ..core.readable import OfFile


def _read(value: Any) -> Any:
    """Return the numbers of a file in place of its path, so that a config says everything."""
    if not isinstance(value, str | Path):
        return value
    try:
        numbers = [float(each) for each in _listed(read_text(Path(value)))]
    except OSError as error:
        raise ValueError(f"file {value} of factors cannot be read: {error.strerror}") from None
    except (TypeError, ValueError):
        raise ValueError(f"file {value} must hold factors, a number for each frequency, and nothing else") from None
    if len(numbers) < 2:
        raise ValueError(f"file {value} must hold 2 or more factors, got {len(numbers)}")
    return numbers


def _with_its_file(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    numbers, path = validate(value), Path(value) if isinstance(value, str | Path) else getattr(value, "path", None)
    return OfFile.at(numbers, path) if path else numbers


def _listed(text: str) -> list[Any]:
    """Return what a list in YAML or JSON holds, else the words of a text, in which # begins a comment."""
    try:
        listed = read_yaml(text)
    except ValueError:
        listed = None
    return listed if isinstance(listed, list) else re.sub("#.*", "", text).replace(",", " ").split()


def _in_order(factors: tuple[float, ...]) -> tuple[float, ...]:
    """Refuse what no search would find, with the first place where it goes wrong."""
    if len(factors) < 2:
        raise ValueError(f"factors must be 2 or more, for the fastest and the slowest frequency, got {len(factors)}")
    for place, (before, factor) in enumerate(pairwise((1.0, *factors)), 1):
        if not 1 <= factor < math.inf:
            raise ValueError(f"factors must be finite and at least 1, got {factor} at place {place} of {len(factors)}")
        if factor < before:
            raise ValueError(
                f"factors must not fall from fast frequencies to slow ones, got {before} at place {place - 1} and "
                f"then {factor} at place {place} of {len(factors)}"
            )
    return factors


LISTED = {"type": "array", "items": {"type": "number", "minimum": 1}, "minItems": 2}
Factors = Annotated[
    tuple[float, ...],
    BeforeValidator(_read),
    AfterValidator(_in_order),
    WrapValidator(_with_its_file),
    WithJsonSchema({"anyOf": [LISTED, {"type": "string", "format": "path"}]}),
]


class LongRope(PositionalStrategy):
    """Divide each frequency by a factor of its own, which somebody has searched.

    The paper finds them by an evolutionary search over what a model loses; none has been published for SVD. ``longtake
    tune`` can search other strategies' options, and its measures can judge such a list. The paper also leaves the first
    few positions as they are, which a code that is the same for all frames cannot.
    """

    name = "longrope"
    factors: Factors = Field(
        examples=[[1, 1.2, 2, 4, 4]],
        description="1 or more for each frequency, from the fastest to the slowest, none less than the one before; a "
        "list, or a file of numbers. Levels of the UNet that have more or fewer frequencies see it interpolated.",
    )

    def frequencies(self, freqs_K: Tensor, span: Span) -> Tensor:
        """Return ω / λ, (K,); with a wrapping strategy's factor f in place of the stretch s, ω / λ^(ln f / ln s)."""
        length = max(1.0, span.frames / span.trained)
        if span.stretch == 1 or length == 1:
            return freqs_K
        # In double precision, in which no factor that can be written down is infinite.
        listed = torch.tensor(self.factors, dtype=torch.float64)[None, None]
        factors_K = torch.nn.functional.interpolate(listed, len(freqs_K), mode="linear", align_corners=True)[0, 0]
        return freqs_K / (factors_K ** (math.log(span.stretch) / math.log(length))).to(freqs_K)
