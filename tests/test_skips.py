"""Skips that wait in the host's memory, also with streams of a GPU, for which stand-ins keep their order."""

from __future__ import annotations

import weakref
from contextlib import contextmanager

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from longtake.core.engine.layout import channels_last
from longtake.core.engine.skips import HostSkips

GPU = torch.device("cuda")  # only its name: tensors are on the CPU


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@given(
    frames=st.integers(1, 9),
    first=st.integers(0, 8),
    count=st.integers(1, 9),
    piece=st.sampled_from([1, 100, 500, 5000]),
)
def test_skips_in_the_hosts_memory_come_back_from_the_pieces_they_lie_in(frames, first, count, piece):
    states, skips = channels_last(random(frames, 2, 2, 3)), HostSkips(torch.device("cpu"), piece)
    first = min(first, frames - 1)
    chunk = slice(first, min(first + count, frames))
    source = skips.store(states)
    assert source.shape == states.shape
    assert torch.equal(source.read(chunk), states[chunk])
    assert source.read(chunk).is_contiguous(memory_format=torch.channels_last)


def test_skips_in_the_hosts_memory_hold_nothing_of_the_device():
    skips = HostSkips(torch.device("cpu"))
    states = torch.randn(3, 2, 4, 5)
    kept, alive = states.clone(), weakref.ref(states)
    skips.put(states)
    del states
    assert alive() is None
    source = skips.take()
    assert torch.equal(torch.cat([source.read(slice(0, 2)), source.read(slice(2, 3))]), kept)


class Working:
    """The stream on which the engine works: what is asked for has been done, but for what is said to be under way."""

    def __init__(self):
        self.under_way = []

    def finish(self):
        while self.under_way:
            self.under_way.pop(0)()

    def wait_stream(self, other):
        other.finish()


class Copies(Working):
    """A stream for copies: nothing has been done until somebody waits for it."""

    def wait_stream(self, other):
        self.under_way.append(other.finish)


class Gpu:
    """What the skips ask of torch for a GPU, done on the CPU as late as a GPU might do it."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.working, self.copies, self.here = Working(), [], None
        self.pinned, self.recorded = [], []
        copy, empty_like = torch.Tensor.copy_, torch.empty_like

        def copied(made, source, non_blocking=False):
            if non_blocking:
                assert self.here is not None, "copied on the stream that works"
                self.here.under_way.append(lambda: copy(made, source))
                return made
            return copy(made, source)

        def empty(like, *, pin_memory, device):
            self.pinned.append(pin_memory)
            return empty_like(like, device=device).fill_(torch.nan)

        patch.setattr(torch.cuda, "Stream", self.stream)
        patch.setattr(torch.cuda, "stream", self.within)
        patch.setattr(torch.cuda, "current_stream", lambda device: self.working)
        patch.setattr(torch.Tensor, "record_stream", lambda made, stream: self.recorded.append((made, stream)))
        patch.setattr(torch.Tensor, "copy_", copied)
        patch.setattr(torch, "empty_like", empty)

    def stream(self, device):
        assert device == GPU
        self.copies.append(Copies())
        return self.copies[-1]

    @contextmanager
    def within(self, stream):
        self.here = stream
        yield
        self.here = None


@given(
    frames=st.integers(1, 9),
    chunks=st.lists(st.tuples(st.integers(0, 8), st.integers(1, 9)), max_size=4),
    each=st.integers(1, 9),
    piece=st.sampled_from([1, 100, 5000]),
)
def test_on_a_gpu_skips_come_back_in_whatever_order_they_are_asked_for(frames, chunks, each, piece):
    numbers = channels_last(random(frames, 2, 2, 3))
    asked = [slice(min(first, frames - 1), min(first + count, frames)) for first, count in chunks]
    asked += [slice(first, min(first + each, frames)) for first in range(0, frames, each)]  # as the engine does
    with pytest.MonkeyPatch.context() as patch:
        gpu = Gpu(patch)
        skips, states = HostSkips(GPU, piece), torch.full_like(numbers, torch.nan)
        gpu.working.under_way.append(lambda: states.copy_(numbers))  # the kernel that makes them is not done
        source = skips.store(states)
        assert gpu.pinned == [True] * len(gpu.pinned) != []
        assert [(made is states, stream) for made, stream in gpu.recorded] == [(True, skips._copies)]
        for chunk in asked:
            gpu.recorded.clear()
            read = source.read(chunk)
            assert torch.equal(read, numbers[chunk])
            # Its memory, which the other stream gave, is not to be used again before the engine is done with it.
            assert [(made is read, stream) for made, stream in gpu.recorded] == [(True, gpu.working)]


def test_on_a_gpu_the_chunk_after_the_one_that_is_read_is_on_its_way():
    numbers = channels_last(random(6, 2, 2, 3))
    with pytest.MonkeyPatch.context() as patch:
        gpu = Gpu(patch)
        source = HostSkips(GPU).store(numbers)
        fetched = []
        for first in (0, 2, 4):
            source.read(slice(first, first + 2))
            fetched.append(len(gpu.copies[0].under_way))
    assert fetched == [1, 1, 0]  # the last has none after it
