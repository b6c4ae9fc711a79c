"""What the VAE and the image encoder give is checked to be finite, before it becomes pixels or conditions the UNet."""

from __future__ import annotations

import torch
from torch import Tensor

from .errors import ModelError

VAE = "VAE"


def check_finite(values: Tensor, what: str, part: str = VAE) -> Tensor:
    """Return ``values``, of any shape, in the precision in which a part of the model computed them.

    Raises:
        ModelError: some are NaN or infinite; it says what to do.

    """
    if bool(torch.isfinite(values).all()):
        return values
    in_float32 = ', or "force_upcast": true in vae/config.json, for a VAE in float32' if part == VAE else ""
    raise ModelError(not_finite(what, part, values.dtype, f"try --dtype bfloat16{in_float32}"))


def not_finite(what: str, part: str, dtype: torch.dtype, instead: str) -> str:
    """Return the sentence about numbers that are not finite.

    Args:
        what: they are, and ``contain`` or ``contains``.
        part: of the model, which computed them.
        dtype: in which it did.
        instead: what to do where half precision is too small for them.

    """
    if dtype == torch.float16:
        return f"{what} NaN or infinity: the {part} of this model overflows in half precision; {instead}"
    return f"{what} NaN or infinity, in {str(dtype).removeprefix('torch.')}: the weights of the {part} may be damaged"
