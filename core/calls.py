"""A whole call of a pipeline: it holds the model, and warns if its result contains NaN or infinity.

Shape suffixes: B = videos of a call, F = frames, C = latent channels, Y, X = latent rows, columns.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn

import torch
from torch import Tensor

from .errors import LongtakeError
from .finite import VAE, not_finite
from .parts import held_parts

logger = logging.getLogger("longtake")

IN_A_PIPELINE = "load the pipeline in bfloat16 or float32"


def one_call_at_a_time(cls: type[Any]) -> type[Any]:
    """Return a class like ``cls``, by its name too, whose calls hold the model."""
    asked = inspect.signature(cls.__call__)

    @wraps(cls.__call__)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        with held_parts(self):
            made = cls.__call__(self, *args, **kwargs)
        if asked.bind(self, *args, **kwargs).arguments.get("output_type") == "latent":  # else the decoder sees them
            warn_of_latents(getattr(made, "frames", made))
        return made

    def reduce(self: Any, _: int) -> Any:
        usual: Any = object.__reduce_ex__(self, 4)
        return (_Copied(type(self)), (), *usual[2:])

    copied = {name: getattr(cls, name) for name in ("__module__", "__qualname__", "__doc__")}
    return type(cls.__name__, (cls,), {**copied, "__call__": call, "__reduce_ex__": reduce})


class _Copied:
    """Makes the object that a copy of a pipeline begins with; a pickle cannot hold it, nor the pipeline's class."""

    def __init__(self, cls: type[Any]) -> None:
        self._cls = cls

    def __call__(self) -> Any:
        return object.__new__(self._cls)

    def __reduce_ex__(self, _: Any) -> NoReturn:
        raise LongtakeError(
            "a pipeline cannot be pickled while longtake is applied to it; call longtake.remove(pipe) first, and "
            "longtake.apply again where it is loaded"
        )


def decode_each(pipe: Any, decode: Callable[..., Tensor], latents_BFCYX: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Return what a pipeline decodes, video by video: its chunks may hold the end of one and the start of the next.

    Latents that are not finite are said as a warning of the logger ``longtake``, and frames that are not, which become
    black.
    """
    decoded = [decode(latents_1FCYX, *args, **kwargs) for latents_1FCYX in latents_BFCYX.split(1)]
    if warn_of_latents(latents_BFCYX) and not all(bool(torch.isfinite(each).all()) for each in decoded):
        logger.warning(not_finite("the decoded frames contain", VAE, pipe.vae.dtype, IN_A_PIPELINE))
    return torch.cat(decoded)


def warn_of_latents(latents_BFCYX: Tensor) -> bool:
    """Return whether the latents of a call are finite; those that are not are said as a warning."""
    finite = bool(torch.isfinite(latents_BFCYX).all())
    if not finite:
        logger.warning(
            not_finite("the latents contain", "UNet or the VAE's encoder", latents_BFCYX.dtype, IN_A_PIPELINE)
        )
    return finite
