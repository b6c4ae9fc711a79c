"""What the VAE and the image encoder give is checked to be finite, before it becomes pixels or conditions the UNet."""

from __future__ import annotations

import torch
from torch import Tensor

from .errors import ModelError


def check_finite(values: Tensor, what: str) -> Tensor:
    """Return ``values``, of any shape, in the precision in which they were computed.

    Raises:
        ModelError: some are NaN or infinite; it says what to do.

    """
    if not bool(torch.isfinite(values).all()):
        raise ModelError(not_finite(what, values.dtype))
    return values


def not_finite(what: str, dtype: torch.dtype) -> str:
    """Return the sentence for numbers that are not finite, computed in ``dtype``."""
    if dtype != torch.float16:
        return f"{what} are not finite, in {str(dtype).removeprefix('torch.')}: the model's weights may be damaged"
    return (
        f"{what} are not finite: this model overflows in half precision; try --dtype bfloat16. If it is the VAE, "
        '"force_upcast": true in the config.json of the VAE lets it work in float32'
    )
