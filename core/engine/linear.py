"""Linear layers by the faster of two kernels.

On a CPU PyTorch hands products of float32 matrices to MKL. It carries oneDNN too, for its compiler, which was the
faster one on a processor of AMD's. The result differs in the order of the sums.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .wrapped import is_plain

THERE = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def run_linear(layer: Any, states_XC: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """Return what a layer gives for the last dimension of some states; a plain layer's bias may be another one."""
    if not is_plain(layer):
        made_XO: Tensor = layer(states_XC)
        return made_XO
    return _product(states_XC, layer.weight, layer.bias if bias_O is None else bias_O)


def run_half(layer: nn.Linear, states_XC: Tensor, half: int) -> Tensor:
    """Return the first (0) or the second half (1) of what a plain layer gives."""
    weight_OC = layer.weight.chunk(2)[half]
    return _product(states_XC, weight_OC, None if layer.bias is None else layer.bias.chunk(2)[half])


def _product(states_XC: Tensor, weight_OC: Tensor, bias_O: Tensor | None) -> Tensor:
    if has_onednn(states_XC):
        made_XO: Tensor = torch.ops.mkldnn._linear_pointwise(states_XC, weight_OC, bias_O, "none", [], "")
        return made_XO
    return functional.linear(states_XC, weight_OC, bias_O)


def has_onednn(states: Tensor) -> bool:
    """Whether oneDNN takes products with these states; the compiler chooses for itself."""
    fits = THERE and states.device.type == "cpu" and states.dtype == torch.float32
    return fits and not torch.compiler.is_compiling() and bool(torch.backends.mkldnn.enabled)
