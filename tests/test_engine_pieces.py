"""The pieces of the engine by themselves, each against the plain thing that it stands for."""

from __future__ import annotations

import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from longtake.core.engine.linear import has_onednn, run_linear
from longtake.core.engine.moments import merge_moments, moments_of, moments_of_frames, normalise
from longtake.core.engine.resample import merged_kernel
from longtake.core.engine.resblock import temporal_conv
from longtake.core.engine.skips import HostSkips
from longtake.core.engine.split import Split, Whole


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(rows=st.integers(1, 6), columns=st.integers(1, 6), given_in=st.integers(1, 5), given_out=st.integers(1, 5))
@settings(max_examples=20)
def test_doubling_and_convolving_is_one_transposed_convolution(rows, columns, given_in, given_out):
    states, weight = random(2, given_in, rows, columns), random(given_out, given_in, 3, 3, seed=1)
    expected = functional.conv2d(functional.interpolate(states, scale_factor=2.0), weight, padding=1)
    got = functional.conv_transpose2d(states, merged_kernel(weight), stride=2, padding=1)
    torch.testing.assert_close(got, expected, atol=1e-12, rtol=0)


@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=6), shift=st.floats(-1e3, 1e3))
def test_moments_of_parts_merge_into_those_of_the_whole(sizes, shift):
    numbers = random(3, sum(sizes)) + shift
    merged = merge_moments([moments_of(part) for part in numbers.split(sizes, dim=1)])
    whole = moments_of(numbers)
    assert merged.total == whole.total == sum(sizes)
    torch.testing.assert_close(merged.mean_G, whole.mean_G, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(merged.squares_G, whole.squares_G, rtol=1e-9, atol=1e-9)


@given(
    rows=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    channels=st.integers(1, 70),
    outputs=st.integers(1, 70),
    biased=st.booleans(),
    strided=st.booleans(),
)
def test_both_kernels_give_what_the_layer_gives(rows, channels, outputs, biased, strided):
    layer = torch.nn.Linear(channels, outputs, bias=biased)
    states = torch.randn(*rows, 2 * channels)[..., ::2] if strided else torch.randn(*rows, channels)
    other = torch.randn(outputs)
    with torch.no_grad():
        exact = layer.double()(states.double())
        layer.float()
        assert has_onednn(states)
        assert not has_onednn(states.double())
        torch.testing.assert_close(run_linear(layer, states).double(), exact, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(run_linear(layer.double(), states.double()), exact, atol=1e-12, rtol=1e-12)
        layer.float()
        with torch.backends.mkldnn.flags(enabled=False):
            assert not has_onednn(states)
            assert torch.equal(run_linear(layer, states), layer(states))
        replaced = exact + other - (layer.bias if biased else 0)
        torch.testing.assert_close(run_linear(layer, states, other).double(), replaced, atol=1e-5, rtol=1e-5)


def test_hooks_of_a_layer_are_honoured():
    layer = torch.nn.Linear(3, 4)
    layer.register_forward_hook(lambda module, given, made: made + 1)
    states = torch.randn(2, 3)
    with torch.no_grad():
        assert torch.equal(run_linear(layer, states), layer(states))


def test_moments_keep_their_digits_where_the_mean_is_large():
    numbers = 1000 + random(2, 5000)
    found = moments_of(numbers.float())
    torch.testing.assert_close(found.squares_G.double(), moments_of(numbers).squares_G, rtol=1e-3, atol=0)


@given(frames=st.integers(1, 6), pixels=st.integers(1, 12), groups=st.sampled_from([1, 2, 4]))
@settings(max_examples=20)
def test_a_norm_from_moments_is_the_temporal_group_norm(frames, pixels, groups):
    norm = nn.GroupNorm(groups, 8).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    states = random(frames, 8, pixels)
    expected = norm(states.transpose(0, 1)[None])[0].transpose(0, 1)
    got = normalise(states, moments_of_frames(states, groups), norm)
    torch.testing.assert_close(got, expected, atol=1e-10, rtol=0)


@given(frames=st.integers(1, 6), pixels=st.integers(1, 9))
@settings(max_examples=15)
def test_the_convolution_over_frames_is_one_over_frames_by_pixels(frames, pixels):
    torch.manual_seed(0)
    conv = nn.Conv3d(4, 6, (3, 1, 1), padding=(1, 0, 0)).double()
    states, rows = random(4, frames, pixels), random(frames, 6, seed=1)
    expected = conv(states[None, ..., None])[0, ..., 0]
    torch.testing.assert_close(temporal_conv(conv, states), expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(temporal_conv(conv, states, rows[:1]), expected + rows[0, :, None, None])
    torch.testing.assert_close(temporal_conv(conv, states, rows), expected + rows.T[:, :, None])


@given(count=st.integers(1, 40), each=st.integers(1, 20), workspace=st.none() | st.integers(1, 300))
def test_chunks_cover_everything_once_in_order_and_within_the_workspace(count, each, workspace):
    split = Split(workspace)
    chunks = list(split.over_frames(count, each))
    assert [frame for chunk in chunks for frame in range(count)[chunk]] == list(range(count))
    sizes = [chunk.stop - chunk.start for chunk in chunks]
    assert workspace is None or max(sizes) == 1 or max(sizes) * each <= workspace
    most = count if workspace is None else max(1, workspace // each)
    assert len(chunks) <= -(-count // most)  # no more of them than needed
    numbers, seen = torch.arange(count).repeat(3, 1), []
    split.over_pixels(lambda number, part: seen.append((number, part[0].tolist())), numbers, 1, each)
    assert [pixel for _, part in seen for pixel in part] == list(range(count))
    assert [number for number, _ in seen] == list(range(len(seen)))
    whole = Whole(count)
    for chunk in chunks:
        whole.put(chunk, numbers[0][chunk])
    assert torch.equal(whole.states, numbers[0])


def test_no_workspace_at_all_is_refused():
    with pytest.raises(ValueError, match="workspace must be positive, got 0 bytes"):
        Split(0)


def test_skips_in_the_hosts_memory_hold_nothing_of_the_device():
    skips = HostSkips(torch.device("cpu"))
    states = torch.randn(3, 2, 4, 5)
    kept, alive = states.clone(), weakref.ref(states)
    skips.put(states)
    del states
    assert alive() is None
    source = skips.take()
    assert torch.equal(torch.cat([source.read(slice(0, 2)), source.read(slice(2, 3))]), kept)
