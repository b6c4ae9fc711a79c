"""Whether work on a tensor is done by kernels of our own, in fewer passes over memory than PyTorch's operators take."""

from __future__ import annotations

import logging
from functools import cache
from importlib.util import find_spec
from types import ModuleType

import torch
from torch import Tensor

logger = logging.getLogger("longtake")

SERVED = (torch.float32, torch.float16, torch.bfloat16)
MOST_PIXELS = 2**22  # of a frame: the moments of more blocks are not merged by one program


def kernels_for(states: Tensor) -> ModuleType | None:
    """Return the kernels where they serve, on a GPU for which Triton is there, else None.

    Where pieces are compiled the compiler makes its own.
    """
    if torch.compiler.is_compiling() or not states.is_cuda or states.dtype not in SERVED:
        return None
    fits = states.stride(-1) == 1 and states.shape[-2] <= MOST_PIXELS
    return _kernels(states.device, states.dtype) if fits else None


@cache
def _kernels(device: torch.device, dtype: torch.dtype) -> ModuleType | None:
    if find_spec("triton") is None:
        return None
    try:
        from . import kernels

        kernels.probe(device, dtype)
    except Exception as error:  # Triton needs a C compiler and a driver, and says so in many ways
        logger.warning("kernels of Triton do not run on %s in %s, PyTorch's operators do: %s", device, dtype, error)
        return None
    return kernels
