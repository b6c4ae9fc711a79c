"""LongRoPE: a factor of its own for each frequency (Ding et al. 2024, arXiv 2402.13753)."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import torch
import yaml
from pydantic import AfterValidator, BeforeValidator, Field
from torch import Tensor

from ..core.contracts import PositionalStrategy, Span


def _read(value: Any) -> Any:
    """Return the numbers of a file in place of its path, so that a config says everything."""
    if not isinstance(value, str):
        return value
    try:
        text = Path(value).read_text(encoding="utf-8")
        numbers = yaml.safe_load(text) if "[" in text or "- " in text else [float(word) for word in text.split()]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"file {value} of factors cannot be read: {error}") from None
    except (ValueError, yaml.YAMLError):
        numbers = None
    if not isinstance(numbers, list):
        raise ValueError(f"file {value} must hold factors, a number for each frequency, and nothing else")
    return numbers


def _in_order(factors: tuple[float, ...]) -> tuple[float, ...]:
    for place, (before, after) in enumerate(pairwise(factors)):
        if after < before:
            raise ValueError(
                f"factors must not fall from fast frequencies to slow ones, got {before} and then {after} at place "
                f"{place + 1}"
            )
    return factors


Factor = Annotated[float, Field(ge=1, allow_inf_nan=False)]
Factors = Annotated[
    tuple[Factor, ...],
    Field(min_length=2),
    BeforeValidator(_read, json_schema_input_type=str | tuple[Factor, ...]),
    AfterValidator(_in_order),
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
        listed = torch.tensor(self.factors, dtype=torch.float32)[None, None]
        factors_K = torch.nn.functional.interpolate(listed, len(freqs_K), mode="linear", align_corners=True)[0, 0]
        return freqs_K / factors_K.to(freqs_K.device) ** (math.log(span.stretch) / math.log(length))
