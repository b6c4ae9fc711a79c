"""What devices say of their memory: how much is free, and that there is none left."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from longtake.core.budget.devices import GIB, amount, free_memory, is_out_of_memory
from longtake.core.errors import ConfigError


@pytest.mark.parametrize(
    ("share", "free"), [(1.0, 20), (0.5, 8), (None, 20)], ids=["all", "half of the device", "torch before 2.7"]
)
def test_a_gpu_has_what_is_free_and_kept_and_no_more_than_the_process_may_take(monkeypatch, share, free):
    cuda = SimpleNamespace(
        memory_allocated=lambda _: 4 * GIB,
        memory_reserved=lambda _: 5 * GIB,
        mem_get_info=lambda _: (20 * GIB, 24 * GIB),
        current_device=lambda: 3,
    )
    if share:  # asked for a device without a number torch raises, unlike the others
        cuda.get_per_process_memory_fraction = {1: 1.0, 3: share}.__getitem__
    monkeypatch.setattr(torch, "cuda", cuda)
    assert free_memory(torch.device("cuda")) == free * GIB
    assert free_memory(torch.device("cuda:3")) == free * GIB


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you"),
            True,
        ),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDNN_STATUS_ALLOC_FAILED"), True),
        (MemoryError(), True),
        (ConfigError("an option called: out of memory"), False),
        (RuntimeError("expected 3 channels"), False),
    ],
)
def test_devices_say_in_their_own_ways_that_they_are_out_of_memory(error, is_it):
    assert is_out_of_memory(error) is is_it


def test_the_cpu_says_so_as_expected():
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**55, dtype=torch.uint8)
    assert is_out_of_memory(raised.value)


@pytest.mark.parametrize(("size", "words"), [(3 * GIB // 2, "1.5 GiB"), (200 * 2**20, "200 MiB")])
def test_amounts_are_said_in_the_unit_that_fits(size, words):
    assert amount(size) == words
