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
    if values.dtype != torch.float16:
        precision = str(values.dtype).removeprefix("torch.")
        raise ModelError(f"{what} are not finite, in {precision}: the weights of the {part} may be damaged")
    in_float32 = ', or "force_upcast": true in vae/config.json, for a VAE in float32' if part == VAE else ""
    raise ModelError(
        f"{what} are not finite: the {part} of this model overflows in half precision; try --dtype bfloat16{in_float32}"
    )
