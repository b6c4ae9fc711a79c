"""How many bytes a computation holds at a time, on a device that has shapes but no numbers."""

from __future__ import annotations

import weakref

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Live(TorchDispatchMode):
    """Counts the bytes of storages that are alive, and the most there were; those known from the start do not count."""

    def __init__(self, known: list[torch.Tensor]) -> None:
        super().__init__()
        self.now = self.most = 0
        self._seen = {tensor.untyped_storage()._cdata for tensor in known}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor) and tensor.device.type == "meta":
                self._count(tensor.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata not in self._seen:
            self._seen.add(storage._cdata)
            self.now += storage.nbytes()
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._drop, storage._cdata, storage.nbytes())

    def _drop(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.now -= size


class Flash(TorchFunctionMode):
    """Lets attention take what its kernels take, the output; without numbers torch would work the logits out."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.nn.functional.scaled_dot_product_attention:
            batch, heads, length, channels = args[0].shape
            return args[0].new_empty(batch, length, heads, channels).transpose(1, 2)
        return function(*args, **(kwargs or {}))


def blended(module: torch.nn.Module) -> torch.nn.Module:
    """Give a model on the meta device real factors of its blends, which the engine reads when it is made."""
    for part in module.modules():
        if hasattr(part, "mix_factor"):
            part.mix_factor = torch.nn.Parameter(torch.zeros(1))
    return module
