"""Kernels for a GPU, by Triton's interpreter, which has to be asked for before anything imports Triton.

So test_kernels.py runs this file in a process of its own.
"""

from __future__ import annotations

import pytest
import torch
from engine_compared import SOME, away, inputs
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from longtake.core.engine import kernels, moments, transformer
from longtake.core.engine.split import Split

DTYPES = st.sampled_from([torch.float32, torch.float16, torch.bfloat16])
CLOSE = {torch.float32: 2e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}


def random(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def some_norm(norm: nn.Module, dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(1)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm.to(dtype)


def assert_close(got: torch.Tensor, exact: torch.Tensor, dtype: torch.dtype) -> None:
    assert got.dtype == dtype
    scale = 1 + exact.abs().max()
    assert (got.double() - exact).abs().max() <= CLOSE[dtype] * scale


@st.composite
def states_and_rows(draw):
    """Draw some pixels out of all frames, so that they are not in one piece, and rows that are to be added."""
    groups, each = draw(st.integers(1, 9)), draw(st.integers(2, 11))
    frames, pixels, channels = draw(st.integers(1, 3)), draw(st.integers(1, 300)), groups * each
    dtype, first = draw(DTYPES), draw(st.integers(0, 2))
    states = (2 * random(frames, pixels + 3, channels) + 5).to(dtype)[:, first : first + pixels]
    rows = draw(st.sampled_from([0, 1, frames]))
    plus = 3 * random(rows, channels, dtype=dtype, seed=2) if rows else None
    return states, groups, plus


@given(states_and_rows(), st.booleans())
@settings(max_examples=15, deadline=None)
def test_a_group_norm_is_that_of_pytorch(drawn, silu):
    states, groups, plus = drawn
    added = states.double() if plus is None else states.double() + plus.double()[:, None]
    mean, squares = kernels.moments(states, groups, plus)
    numbers = added.unflatten(2, (groups, -1)).movedim(2, 1).flatten(2)
    torch.testing.assert_close(mean.double(), numbers.mean(2), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(squares.double(), numbers.var(2, correction=0) * numbers.shape[2], rtol=1e-4, atol=1e-4)
    norm = some_norm(nn.GroupNorm(groups, states.shape[2]), states.dtype)
    exact = norm.double()(added.transpose(1, 2)).transpose(1, 2)
    norm.to(states.dtype)
    got = kernels.normalised(states, numbers.shape[2], mean, squares, norm, plus, silu=silu)
    assert got.is_contiguous()
    assert_close(got, functional.silu(exact) if silu else exact, states.dtype)


@given(states_and_rows())
@settings(max_examples=8, deadline=None)
def test_one_row_of_moments_serves_all_frames(drawn):
    states, groups, plus = drawn
    total = states.shape[1] * states.shape[2] // groups
    found = moments.merge_moments([moments.Moments(total, *kernels.moments(states, groups, plus))])
    norm = some_norm(nn.GroupNorm(groups, states.shape[2]), states.dtype)
    got = kernels.normalised(states, *found, norm, plus, silu=True)
    exact = moments.normalise(states.double(), found, norm.double(), None if plus is None else plus.double())
    assert_close(got, exact, states.dtype)


@given(states_and_rows())
@settings(max_examples=8, deadline=None)
def test_a_norm_of_tokens_is_that_of_pytorch(drawn):
    states = drawn[0]
    norm = some_norm(nn.LayerNorm(states.shape[2]), states.dtype)
    got = kernels.layer_normed(states, norm)
    assert_close(got, norm.double()(states.double()), states.dtype)


@given(st.integers(1, 9000), DTYPES)
@settings(max_examples=8, deadline=None)
def test_the_gate_opens_as_gelu_says(number, dtype):
    gate, hidden = random(number, dtype=dtype), random(number, dtype=dtype, seed=1)
    exact = functional.gelu(gate.double()) * hidden.double()
    assert kernels.gated_(gate, hidden) is gate
    assert_close(gate, exact, dtype)


@pytest.mark.parametrize("default", [torch.float32, torch.bfloat16])
def test_moments_are_in_float32_whatever_the_default_is(default):
    kernels.probe(torch.device("cpu"), torch.float16)
    try:
        torch.set_default_dtype(default)
        mean, squares = kernels.moments(random(1, 5, 8, dtype=torch.float16), 2, None)
    finally:
        torch.set_default_dtype(torch.float32)
    assert mean.dtype == squares.dtype == torch.float32


def test_the_unet_by_kernels_equals_diffusers(make_pipeline, monkeypatch):
    unet, served = make_pipeline().unet.float(), []

    def serve(states):
        served.append(states.stride(-1) == 1)
        return kernels

    monkeypatch.setattr(moments, "kernels_for", serve)
    monkeypatch.setattr(transformer, "kernels_for", serve)
    given_ = inputs(1, 3, (4, 6), torch.float32)
    assert away(unet, given_, Split(4 * SOME)) < 1e-5
    assert len(served) > 100
    assert all(served)
