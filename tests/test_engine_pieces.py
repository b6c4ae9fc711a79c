"""The pieces of the engine by themselves, each against the plain thing that it stands for."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from longtake.core.engine import layout
from longtake.core.engine.layout import channels_last, states_of, tokens_of, weights_channels_last
from longtake.core.engine.linear import has_onednn, run_half, run_linear
from longtake.core.engine.moments import group_norm, merge_moments, moments_of, normalise
from longtake.core.engine.resample import merged_kernel
from longtake.core.engine.resblock import temporal_conv
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


@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=6), pixels=st.integers(1, 9), shift=st.floats(-1e3, 1e3))
def test_moments_of_parts_merge_into_those_of_the_whole(sizes, pixels, shift):
    numbers = random(sum(sizes), pixels, 6) + shift
    merged = merge_moments([moments_of(part, 3) for part in numbers.split(sizes)])
    groups = numbers.unflatten(2, (3, 2)).movedim(2, 0).flatten(1)
    assert merged.total == groups.shape[1]
    torch.testing.assert_close(merged.mean_RG[0], groups.mean(dim=1), rtol=1e-12, atol=1e-12)
    expected = groups.var(dim=1, correction=0) * groups.shape[1]
    torch.testing.assert_close(merged.squares_RG[0], expected, rtol=1e-9, atol=1e-9)


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


@given(states=st.integers(1, 5), channels=st.integers(1, 9), outputs=st.integers(1, 9), biased=st.booleans())
def test_halves_of_a_layer_are_its_halves(states, channels, outputs, biased):
    layer = torch.nn.Linear(channels, 2 * outputs, bias=biased).double()
    with torch.no_grad():
        expected, numbers = layer(random(states, channels)), random(states, channels)
        got = torch.cat([run_half(layer, numbers, half) for half in (0, 1)], dim=-1)
    torch.testing.assert_close(got, expected, atol=1e-12, rtol=1e-12)


def test_hooks_of_a_layer_are_honoured():
    layer = torch.nn.Linear(3, 4)
    layer.register_forward_hook(lambda module, given, made: made + 1)
    states = torch.randn(2, 3)
    with torch.no_grad():
        assert torch.equal(run_linear(layer, states), layer(states))


def test_moments_keep_their_digits_where_the_mean_is_large():
    numbers = 1000 + random(2, 1250, 4)
    found = moments_of(numbers.float(), 2)
    torch.testing.assert_close(found.squares_RG.double(), moments_of(numbers, 2).squares_RG, rtol=1e-3, atol=0)


def some_norm(groups: int) -> nn.GroupNorm:
    norm = nn.GroupNorm(groups, 8).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


def some_rows(rows: str, frames: int) -> Tensor | None:
    return {"none": None, "one": 5 * random(1, 8, seed=2), "each": 5 * random(frames, 8, seed=2)}[rows]


ROWS = st.sampled_from(["none", "one", "each"])


@given(
    frames=st.integers(1, 6),
    pixels=st.integers(1, 12),
    groups=st.sampled_from([1, 2, 4]),
    silu=st.booleans(),
    rows=ROWS,
)
@settings(max_examples=30)
def test_a_norm_from_moments_is_the_temporal_group_norm(frames, pixels, groups, silu, rows):
    norm, states, plus = some_norm(groups), random(frames, pixels, 8), some_rows(rows, frames)
    added = states if plus is None else states + plus[:, None]
    expected = norm(added.permute(2, 0, 1)[None])[0].permute(1, 2, 0)
    got = normalise(states, merge_moments([moments_of(states, groups, plus)]), norm, plus, silu=silu)
    torch.testing.assert_close(got, functional.silu(expected) if silu else expected, atol=1e-10, rtol=0)


@given(
    frames=st.integers(1, 4),
    size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    silu=st.booleans(),
    hooked=st.booleans(),
    rows=ROWS,
)
@settings(max_examples=30)
def test_a_group_norm_is_that_of_pytorch_and_keeps_channels_last(frames, size, silu, hooked, rows):
    norm, states, plus = some_norm(4), channels_last(random(frames, 8, *size)), some_rows(rows, frames)
    if hooked:
        norm.register_forward_hook(lambda module, given, made: made + 1)
    expected = norm(states if plus is None else states + plus[..., None, None])
    got = group_norm(states, norm, plus, silu=silu)
    torch.testing.assert_close(got, functional.silu(expected) if silu else expected, atol=1e-10, rtol=0)
    assert hooked or got.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("inference", [False, True])
def test_weights_lie_with_channels_last_within_the_block_and_as_before_after_it(monkeypatch, inference):
    monkeypatch.setattr(layout, "gains", lambda _: True)
    layers = nn.Sequential(nn.Conv2d(4, 6, 3), nn.Conv3d(6, 2, (3, 1, 1)), nn.Conv2d(4, 6, 3), nn.Conv2d(4, 6, 3))
    layers[2].register_forward_hook(lambda *_: None)
    layers[3].to(memory_format=torch.channels_last)
    before = [(layer.weight, layer.weight.detach().clone(), layer.weight.stride()) for layer in layers]
    with (
        pytest.raises(KeyError),
        torch.inference_mode(inference),
        weights_channels_last(layers),
        weights_channels_last(layers),
    ):
        assert layers[0].weight.is_contiguous(memory_format=torch.channels_last)
        assert layers[1].weight[..., 0].is_contiguous(memory_format=torch.channels_last)
        assert layers[2].weight.is_contiguous()  # whoever hooks it may look at it
        assert all(torch.equal(layer.weight, weight) for layer, (_, weight, _) in zip(layers, before, strict=True))
        raise KeyError
    for layer, (parameter, weight, stride) in zip(layers, before, strict=True):
        assert layer.weight is parameter
        assert torch.equal(layer.weight, weight)
        assert layer.weight.stride() == stride
        assert not layer.weight.is_inference()


@pytest.mark.parametrize("failing", range(4))
def test_weights_lie_as_before_where_moving_one_fails(monkeypatch, failing):
    monkeypatch.setattr(layout, "gains", lambda _: True)
    layers = nn.Sequential(nn.Conv2d(4, 6, 3), nn.Conv2d(4, 6, 3))
    lay, calls = layout._lay, []

    def out_of_memory_once(*asked):
        calls.append(asked)
        if len(calls) == failing + 1:
            raise torch.OutOfMemoryError("no room")
        lay(*asked)

    monkeypatch.setattr(layout, "_lay", out_of_memory_once)
    with pytest.raises(torch.OutOfMemoryError), weights_channels_last(layers):
        pass
    left = [layer for layer in layers if not layer.weight.is_contiguous()]
    assert len(left) == (1 if failing > 1 else 0)  # that which could not be put back, and no other


def test_a_layer_that_answers_in_another_layout_loses_nothing():
    whole = Whole(3)
    whole.put(slice(0, 3), random(3, 2, 4, 5))
    tokens_of(whole.states).add_(1)
    assert torch.equal(whole.states, random(3, 2, 4, 5) + 1)


@given(frames=st.integers(1, 4), channels=st.integers(1, 4), size=st.tuples(st.integers(1, 4), st.integers(1, 4)))
def test_tokens_are_the_memory_of_the_states(frames, channels, size):
    states = channels_last(random(frames, channels, *size))
    tokens = tokens_of(states)
    assert tokens.shape == (frames, size[0] * size[1], channels)
    tokens += 1
    assert torch.equal(states, random(frames, channels, *size) + 1)
    assert torch.equal(states_of(tokens, states.shape[2:]), states)


@given(frames=st.integers(1, 6), pixels=st.integers(1, 9))
@settings(max_examples=15)
def test_the_convolution_over_frames_is_one_over_frames_by_pixels(frames, pixels):
    torch.manual_seed(0)
    conv = nn.Conv3d(4, 6, (3, 1, 1), padding=(1, 0, 0)).double()
    states = random(frames, pixels, 4)
    expected = conv(states.permute(2, 0, 1)[None, ..., None])[0, ..., 0].permute(1, 2, 0)
    torch.testing.assert_close(temporal_conv(conv, states), expected, atol=1e-12, rtol=0)
    assert temporal_conv(conv.float(), states.float()).is_contiguous()  # channels stay last, without a copy
    conv.double()
    torch.testing.assert_close(temporal_conv(conv, states, biased=False) + conv.bias, expected, atol=1e-12, rtol=0)


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
    split.over_pixels(lambda number, part: seen.append((number, part[0, :, 0].tolist())), numbers[..., None], each)
    assert [pixel for _, part in seen for pixel in part] == list(range(count))
    assert [number for number, _ in seen] == list(range(len(seen)))
    whole = Whole(count)
    for chunk in chunks:
        whole.put(chunk, numbers[0][chunk])
    assert torch.equal(whole.states, numbers[0])


@pytest.mark.parametrize("workspace", [0, -1, 1.5, "8GiB"])
def test_what_is_no_workspace_is_refused(workspace):
    said = re.escape(f"workspace must be a whole number of bytes, 1 or more, got {workspace!r}")
    with pytest.raises(ValueError, match=said):
        Split(workspace)
