"""A device that is not there: its tensors lie on the CPU, but say that they are elsewhere, and know no float64.

On a machine with nothing but a CPU the tensors of "the device" and those of schedules, which are worked out on the CPU
in float64, cannot be told apart by where they are. So a tensor of the pretend device is a wrapper around one of the CPU
that says that its device is ``lazy``, which torch can name and guard without having it. Weights become such tensors by
``module.to``, and everything that is computed from them, or made with ``device=``, as well; only a copy to the CPU
leads back. What a real device like that of a Mac would refuse is refused: float64, and sums of tensors from both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("lazy:0")  # with a number, since torch asks the device for a missing one
# Operations that may see both sides: copies, and indices of the host.
BOTH_SIDES = ("aten::copy_", "aten::_to_copy", "aten::index", "aten::index_put_", "aten::_index_put_impl_")


class There(Tensor):
    """A tensor of the pretend device."""

    @staticmethod
    def __new__(cls, inner: Tensor) -> There:
        if inner.dtype == torch.float64:
            raise TypeError("the pretend device has no float64")
        made: There = Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=DEVICE,
        )
        made.inner = inner
        return made

    def tolist(self) -> Any:
        """Return the numbers, which torch leaves to whoever makes a class of tensors."""
        return self.inner.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


class _Made(TorchDispatchMode):
    """Lets tensors be made on the pretend device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


@contextmanager
def pretending() -> Iterator[None]:
    """Let the pretend device be there for the time of a block."""
    # These two alone go past whoever stands in for a device; and attention's kernels are chosen by the kind of device.
    tensor, as_tensor = _then_moved(torch.tensor), _then_moved(torch.as_tensor)
    with (
        patch.object(torch, "tensor", tensor),
        patch.object(torch, "as_tensor", as_tensor),
        _Made(),
        sdpa_kernel(SDPBackend.MATH),
    ):
        yield


def _then_moved(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def made(data: Any, *, device: Any = None, **more: Any) -> Tensor:
        return make(data, **more) if device is None else make(data, **more).to(device)

    return made


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Return the result of an operation, on the side where it belongs."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    any_there = any(isinstance(each, There) for each in tensors)
    asked = kwargs.get("device")
    there = any_there if asked is None else torch.device(asked).type == DEVICE.type
    if any_there and func._schema.name not in BOTH_SIDES:
        here = [each for each in tensors if not isinstance(each, There) and each.ndim and each.is_floating_point()]
        assert not here, f"{func} of tensors on both sides"
    made = func(*_inner(args), **_inner(kwargs))
    if func._schema.is_mutable:
        return args[0] if isinstance(made, Tensor) else made
    return tree_map(lambda each: There(each) if isinstance(each, Tensor) else each, made) if there else made


def _inner(values: Any) -> Any:
    def of(value: Any) -> Any:
        if isinstance(value, There):
            return value.inner
        return torch.device("cpu") if isinstance(value, torch.device) and value.type == DEVICE.type else value

    return tree_map(of, values)
