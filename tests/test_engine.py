"""The engine gives what diffusers' UNet gives: every piece alone, all together, however the work is split."""

from __future__ import annotations

import copy

import pytest
import torch
from engine_compared import SOME, WHOLE, away, blocks_of, call, inputs, random
from hypothesis import given, settings
from hypothesis import strategies as st

from longtake import installed
from longtake.core.engine import resample, resblock, transformer
from longtake.core.engine import unet as engine_unet
from longtake.core.engine.blend import share_of_temporal
from longtake.core.engine.linear import run_half, run_linear
from longtake.core.engine.moments import group_norm, layer_norm, merge_moments, moments_of, normalise
from longtake.core.engine.resample import Upsampler, merged_kernel
from longtake.core.engine.resblock import ResBlock, plus_of, temporal_conv
from longtake.core.engine.skips import HostSkips
from longtake.core.engine.split import Source, Split
from longtake.core.engine.times import TimeEmbedding
from longtake.core.engine.transformer import Transformer, spatial_block, temporal_block, token_bias
from longtake.core.engine.wrapped import bias_plus
from longtake.core.seams import Seams

SPLITS = st.builds(Split, workspace=st.none() | st.integers(1, 300_000), keep=st.booleans())


@pytest.fixture(scope="module")
def unet(make_pipeline):
    return make_pipeline().unet.double()


@given(
    batch=st.integers(1, 2), frames=st.integers(1, 9), rows=st.integers(3, 8), columns=st.integers(3, 8), split=SPLITS
)
@settings(max_examples=30)
def test_the_engine_equals_diffusers_however_the_work_is_split(unet, batch, frames, rows, columns, split):
    assert away(unet, inputs(batch, frames, (rows, columns)), split) < 1e-12


@given(frames=st.integers(2, 9), rows=st.integers(1, 2), columns=st.integers(3, 8), split=SPLITS)
@settings(max_examples=15)
def test_so_it_does_where_norms_have_next_to_nothing_to_take_statistics_of(unet, frames, rows, columns, split):
    """Their variances are tiny then, and rounding counts for more: in diffusers' own result just as well."""
    assert away(unet, inputs(1, frames, (rows, columns)), split) < 1e-9


@pytest.mark.parametrize("split", [WHOLE, Split(1), Split(SOME, keep=False), Split(3 * SOME)])
def test_in_single_precision_it_equals_diffusers_up_to_rounding(unet, split):
    single = copy.deepcopy(unet).float()
    for batch, frames, size in [(1, 4, (6, 8)), (2, 7, (5, 3))]:
        assert away(single, inputs(batch, frames, size, torch.float32), split) < 1e-5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("split", [WHOLE, Split(SOME // 2)])
def test_in_half_precision_it_is_no_farther_from_the_truth_than_diffusers(unet, dtype, split):
    half = copy.deepcopy(unet).to(dtype)
    exact = copy.deepcopy(half).double()
    given_ = inputs(2, 6, (6, 8), dtype)
    truth = call(exact, tuple(each.double() for each in given_))
    stock = (call(half, given_).double() - truth).square().mean().sqrt()
    with installed(half, split=split):
        ours = (call(half, given_).double() - truth).square().mean().sqrt()
    assert ours <= 1.1 * stock


def wrong_kernel(weight):
    return merged_kernel(weight.flip(2))


def wrong_share(mixer):
    return 1 - share_of_temporal(mixer)


def wrong_normalise(states, moments, norm, plus=None):
    return normalise(states, moments._replace(total=moments.total + 1), norm, plus)


def wrong_frames(states, groups, plus=None):
    return moments_of(states[:1], groups, plus)


def wrong_group_norm(states, norm, plus=None, *, silu=True):
    return group_norm(states, norm, plus, silu=silu) * 1.001


def wrong_layer_norm(states, norm):
    return layer_norm(states, norm) * 1.001


def wrong_rows_of_time(conv, rows):
    return 1.001 * plus_of(conv, rows)


def wrong_half(layer, states, half):
    return run_half(layer, states, 1 - half)


def wrong_conv(conv, states, *more, biased=True):
    return temporal_conv(conv, states.flip(0), *more, biased=biased)


def wrong_bias(block, token):
    return token_bias(block, 1.001 * token)


def wrong_plus(layer, more):
    return bias_plus(layer, 1.001 * more)


def wrong_linear(layer, states, bias=None):
    return 1.001 * run_linear(layer, states, bias)


def wrong_time(self, linear):
    return 1.001 * linear(self._active_RC)


def wrong_rows(rows, chunk):
    return 1.001 * rows  # not rows plus a constant, which the next norm would take out


@pytest.mark.parametrize(
    ("where", "name", "wrong"),
    [
        (resample, "merged_kernel", wrong_kernel),
        (resblock, "share_of_temporal", wrong_share),
        (transformer, "share_of_temporal", wrong_share),
        (resblock, "normalise", wrong_normalise),
        (resblock, "moments_of", wrong_frames),
        (resblock, "group_norm", wrong_group_norm),
        (transformer, "group_norm", wrong_group_norm),
        (engine_unet, "group_norm", wrong_group_norm),
        (transformer, "run_half", wrong_half),
        (resblock, "temporal_conv", wrong_conv),
        (transformer, "token_bias", wrong_bias),
        (resblock, "rows_of", wrong_rows),
        (resblock, "plus_of", wrong_rows_of_time),
        (transformer, "layer_norm", wrong_layer_norm),
        (transformer, "bias_plus", wrong_plus),
        (transformer, "run_linear", wrong_linear),
        (TimeEmbedding, "project", wrong_time),
    ],
)
def test_the_proof_fails_where_a_piece_is_wrong(unet, monkeypatch, where, name, wrong):
    given_ = inputs(1, 5, (4, 6))
    assert away(unet, given_, Split(SOME)) < 1e-12
    monkeypatch.setattr(where, name, wrong)
    assert away(unet, given_, Split(SOME)) > 1e-9


def wrong_merge(parts):
    """Merge as if all parts were of the same size."""
    return merge_moments([part._replace(total=1) for part in parts])


def test_the_proof_fails_where_moments_are_merged_wrongly(unet):
    given_ = inputs(1, 5, (4, 6))
    assert away(unet, given_, Split(SOME, merge=merge_moments)) < 1e-12
    assert away(unet, given_, Split(SOME, merge=wrong_merge)) > 1e-9


@pytest.mark.parametrize("size", [(8, 10), (7, 9), (8, 9)])
def test_up_sampling_to_any_size_equals_diffusers(unet, size):
    module = unet.up_blocks[0].upsamplers[0]
    states = random(3, module.channels, 4, 5)
    with torch.no_grad():
        torch.testing.assert_close(Upsampler(module)(states, size), module(states, size), atol=1e-12, rtol=0)


@pytest.mark.parametrize("number", range(4))
@torch.no_grad()
def test_a_residual_block_equals_diffusers(unet, number):
    module = blocks_of(unet, "SpatioTemporalResBlock")[number]
    states, embedding = random(5, module.spatial_res_block.in_channels, 4, 3), random(1, 128, seed=1)
    expected = module(states, embedding.expand(5, -1), torch.zeros(1, 5))
    got = ResBlock(module)(Source.of(states), TimeEmbedding(embedding), Split(SOME))
    torch.testing.assert_close(got, expected, atol=1e-12, rtol=0)
    rows = random(5, 128, seed=2)
    expected = module(states, rows, torch.zeros(1, 5))
    got = ResBlock(module)(Source.of(states), TimeEmbedding(rows), Split(SOME, keep=False))
    torch.testing.assert_close(got, expected, atol=1e-12, rtol=0)


@torch.no_grad()
def test_a_transformer_and_its_blocks_equal_diffusers(unet):
    module = blocks_of(unet, "TransformerSpatioTemporalModel")[0]
    states, token = random(5, module.in_channels, 4, 3), random(1, 16, seed=1)
    expected = module(states, token[None].expand(5, -1, -1), torch.zeros(1, 5), return_dict=False)[0]
    got = states.clone()
    Transformer(module)(got, token, Seams(4), Split(SOME))
    torch.testing.assert_close(got, expected, atol=1e-12, rtol=0)

    spatial, temporal = module.transformer_blocks[0], module.temporal_transformer_blocks[0]
    tokens = random(5, 7, module.inner_dim, seed=2)
    expected = spatial(tokens, encoder_hidden_states=token.expand(5, 1, -1))
    got = tokens.clone()
    spatial_block(spatial, got, token_bias(spatial, token))
    torch.testing.assert_close(got, expected, atol=1e-12, rtol=0)

    expected = temporal(tokens, num_frames=5, encoder_hidden_states=token.expand(7, 1, -1))
    still = torch.zeros(5, module.inner_dim, dtype=torch.float64)
    got = temporal_block(temporal, tokens, still, token_bias(temporal, token), Seams(4).attend)
    torch.testing.assert_close(got, expected, atol=1e-12, rtol=0)


@torch.no_grad()
def test_attention_to_one_token_gives_every_query_the_same(unet):
    block = blocks_of(unet, "BasicTransformerBlock")[0]
    token = random(1, 16, seed=1)
    queries = random(2, 9, block.attn2.to_q.in_features)
    seen = block.attn2(queries, encoder_hidden_states=token.expand(2, 1, -1))
    torch.testing.assert_close(seen, token_bias(block, token).expand_as(seen), atol=1e-12, rtol=0)


@pytest.mark.parametrize("workspace", [None, 1, SOME])
def test_skips_in_the_hosts_memory_change_nothing(unet, workspace):
    given_ = inputs(2, 6, (5, 7))
    stock = call(unet, given_)
    with installed(unet, split=Split(workspace), make_skips=lambda: HostSkips(torch.device("cpu"))):
        assert (call(unet, given_) - stock).abs().max() < 1e-12
