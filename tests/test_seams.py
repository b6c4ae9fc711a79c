"""What strategies are asked within the UNet: nothing changes where nothing is asked, the right thing where it is."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from unet_calls import call, everything_of, inputs, plain

import longtake
from longtake import AttentionStrategy, PositionalStrategy, Windows, installed
from longtake.core.errors import PluginError
from longtake.core.testing import example_options
from longtake.core.windows import fused_weights, window_starts
from longtake.plugins.attention.freenoise import FreeNoiseWindows
from longtake.plugins.attention.full import Full
from longtake.positional.linear import Linear
from longtake.positional.none import Unchanged
from longtake.positional.yarn import Yarn

TRAINED = 4
REGISTRY = longtake.load_plugins(third_party=False).registry
INSIDE = ("positional", "attention")


def built(kind: str, name: str):
    return REGISTRY.build(kind, {"name": name} | example_options(REGISTRY.classes[kind][name]))


@pytest.fixture(scope="module")
def unet(tiny_model):
    return tiny_model.pipeline.unet


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("frames", [4, 7])
def test_identity_strategies_change_no_bit(unet, batch, frames):
    given_ = inputs(batch, frames)
    without = plain(unet, given_)
    with installed(unet, Unchanged(), Full()):
        assert torch.equal(call(unet, given_), without)
    torch.testing.assert_close(without, call(unet, given_), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind_and_name", [(kind, name) for kind in INSIDE for name in sorted(REGISTRY.classes[kind])])
@pytest.mark.parametrize("batch", [1, 2])
def test_no_strategy_changes_a_bit_when_there_is_nothing_to_stretch(unet, kind_and_name, batch):
    kind, name = kind_and_name
    strategies = [built(kind, name) if kind == each else None for each in INSIDE]
    for frames in (1, 2, TRAINED):
        given_ = inputs(batch, frames)
        without = plain(unet, given_)
        with installed(unet, *strategies) as seams:
            for seams.progress in (0.0, 0.5, 1.0):
                assert torch.equal(call(unet, given_), without)


@pytest.mark.parametrize("name", sorted(set(REGISTRY.classes["positional"]) - {"none"}))
def test_every_positional_strategy_changes_a_long_video(unet, name):
    given_ = inputs(1, 9)
    stock = call(unet, given_)
    with installed(unet, built("positional", name)):
        assert (call(unet, given_) - stock).abs().max() > 1e-5


@pytest.mark.parametrize("name", sorted(set(REGISTRY.classes["attention"]) - {"full"}))
def test_every_attention_strategy_changes_a_long_video(unet, name):
    given_ = inputs(1, 24)
    stock = call(unet, given_)
    with installed(unet, None, REGISTRY.build("attention", name)):
        assert (call(unet, given_) - stock).abs().max() > 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_trained_positions_change_no_bit_in_any_precision(unet, dtype):
    """A fixed factor of 1 asks for the positions that the model was trained on."""
    model = copy.deepcopy(unet).to(dtype)
    given_ = inputs(2, 7, dtype=dtype)
    with installed(model, Linear(factor=1)):
        assert torch.equal(call(model, given_), plain(model, given_))


@pytest.mark.parametrize("batch", [1, 2])
def test_positions_go_through_the_models_own_embedding(unet, batch):
    """Oracle: replace the stock module that makes sinusoids of frame numbers by one that divides them first."""
    unet = copy.deepcopy(unet).double()  # rounding in float32 may reach 1e-6
    given_ = inputs(batch, 10, dtype=torch.float64)

    class Divided(torch.nn.Module):
        def __init__(self, stock):
            super().__init__()
            self.stock = stock

        def forward(self, frames):
            return self.stock(frames / 2.5)

    oracle = copy.deepcopy(unet)
    for module in oracle.modules():
        if hasattr(module, "time_pos_embed"):
            module.time_proj = Divided(module.time_proj)
    with installed(unet, Linear(), trained=4):
        torch.testing.assert_close(call(unet, given_), call(oracle, given_), atol=1e-9, rtol=0)


def test_the_temperature_is_on_temporal_self_attention_only(unet):
    """Oracle: scale the projection of the queries in every temporal attn1."""

    class Hot(PositionalStrategy):
        name = "hot"

        def temperature(self, span):
            return 1.7

    oracle = copy.deepcopy(unet)
    for module in oracle.modules():
        for block in getattr(module, "temporal_transformer_blocks", ()):
            block.attn1.to_q.weight.data *= 1.7
    given_ = inputs(2, 5)
    with installed(unet, Hot()):
        changed = call(unet, given_)
    torch.testing.assert_close(changed, call(oracle, given_), atol=5e-6, rtol=0)
    assert (changed - call(unet, given_)).abs().max() > 1e-6


class OneWindow(AttentionStrategy):
    """All frames in one window: whatever way windows take, the result must be that of full attention."""

    name = "one-window"
    local: bool = False

    def windows(self, span):
        return Windows(span.frames, [0], fused_weights(span.frames, span.frames, [0]), self.local)


@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize("batch", [1, 2])
def test_one_window_over_all_frames_is_full_attention(unet, local, batch):
    given_ = inputs(batch, 7)
    with installed(unet):
        full = call(unet, given_)
    with installed(unet, None, OneWindow(local=local)):
        torch.testing.assert_close(call(unet, given_), full, atol=2e-6, rtol=0)


def test_windows_equal_attention_worked_out_window_by_window(unet):
    """Oracle: mask attention to each window in turn and sum the results with the weights."""
    frames, strategy = 9, FreeNoiseWindows(window=4, stride=2)
    span = longtake.Span(frames=frames, trained=4)
    q, k, v = torch.randn(3, 2, 3, frames, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    starts = window_starts(frames, 4, 2)
    expected = torch.zeros_like(q)
    for start, weights in zip(starts, fused_weights(frames, 4, starts), strict=True):
        logits = q @ k.transpose(-1, -2) / 8**0.5
        logits[..., [key for key in range(frames) if not start <= key < start + 4]] = -torch.inf
        expected += weights[:, None] * (logits.softmax(-1) @ v)
    torch.testing.assert_close(strategy.attend(q, k, v, span, None), expected, atol=1e-6, rtol=0)


def test_local_windows_run_the_temporal_block_window_by_window(unet):
    """Two separate windows of 4 of a still clip of 8: each attention sees a window, and is told of no more."""
    given_ = inputs(1, 8)
    given_["sample"] = given_["sample"][:, :4].repeat(1, 2, 1, 1, 1)
    seen = []

    class Recorded(FreeNoiseWindows):
        def attend(self, q_PNFD, k_PNFD, v_PNFD, span, scale):
            seen.append((q_PNFD.shape[2], span.frames))
            return super().attend(q_PNFD, k_PNFD, v_PNFD, span, scale)

    with installed(unet, None, Recorded(window=4, stride=4, positions="local")):
        call(unet, given_)
    blocks = sum(hasattr(module, "temporal_transformer_blocks") for module in unet.modules())
    assert seen == [(4, 4)] * 2 * blocks


@pytest.mark.parametrize("batch", [1, 2])
def test_motion_per_frame_is_seen_by_its_frame(unet, batch):
    """The same motion for every frame, said per frame, gives the stock result; another motion changes it."""
    given_ = inputs(batch, 5)
    without = plain(unet, given_)
    same = given_["added_time_ids"][:, None].expand(batch, 5, 3)
    with installed(unet) as seams:
        seams.time_ids_BF3 = same.clone()
        assert torch.equal(call(unet, given_), without)
        # So little that the embedding stays the same in all but the last bits, yet the path per frame is taken.
        seams.time_ids_BF3 = same + torch.tensor([0.0, 0.0, 1e-9]) * torch.arange(5)[None, :, None]
        torch.testing.assert_close(call(unet, given_), without, atol=1e-5, rtol=0)
        seams.time_ids_BF3 = same + torch.tensor([0.0, 30.0, 0.0]) * torch.arange(5)[None, :, None]
        assert (call(unet, given_) - without).abs().max() > 1e-5


def test_motion_per_frame_equals_a_video_conditioned_so_at_every_frame(unet):
    """Oracle: frames that all have motion 200, said per frame, equal a stock call with 200."""
    given_ = inputs(1, 5)
    other = {**given_, "added_time_ids": torch.tensor([[6.0, 200.0, 0.02]])}
    ids = other["added_time_ids"][:, None].repeat(1, 5, 1)
    ids[0, 0, 2] += 1e-7  # not all equal, so that the path per frame is taken
    with installed(unet) as seams:
        seams.time_ids_BF3 = ids
        torch.testing.assert_close(call(unet, given_), call(copy.deepcopy(unet), other), atol=1e-5, rtol=0)


def test_a_strategy_acts_only_in_its_range_of_the_denoising(unet):
    given_ = inputs(1, 9)
    without = plain(unet, given_)
    with installed(unet, Linear(start=0.25, stop=0.75), FreeNoiseWindows(start=0.25, stop=0.75)) as seams:
        for progress, acts in [(0, False), (0.2, False), (0.25, True), (0.7, True), (0.75, False), (1, False)]:
            seams.progress = progress
            assert torch.equal(call(unet, given_), without) is not acts


@given(frames=st.integers(5, 14), rows=st.integers(2, 7), columns=st.integers(2, 7))
@settings(max_examples=8)
def test_any_size_and_length_goes_through_with_everything_on(unet, frames, rows, columns):
    given_ = inputs(1, frames, size=(rows, columns))
    for positions in ("global", "local"):
        with installed(unet, Yarn(), FreeNoiseWindows(window=4, stride=3, positions=positions)) as seams:
            seams.time_ids_BF3 = torch.rand(1, frames, 3)
            result = call(unet, given_)
        assert result.shape == (1, frames, 4, rows, columns)
        assert torch.isfinite(result).all()


class TooFew(PositionalStrategy):
    name = "too-few"

    def positions(self, frames_F, span):
        return frames_F[:2]


class Broken(PositionalStrategy):
    name = "broken"

    def frequencies(self, freqs_K, span):
        return freqs_K * float("nan")


class Cut(AttentionStrategy):
    name = "cut"

    def attend(self, q_PNFD, k_PNFD, v_PNFD, span, scale):
        return q_PNFD[:, :, :1]


@pytest.mark.parametrize(
    ("positional", "attention", "message"),
    [
        (TooFew(), None, "'too-few' must give 5 positions, got shape \\(2,\\)"),
        (Broken(), None, "'broken' must give finite frequencies"),
        (None, Cut(), "'cut' must return .* from attend, got"),
    ],
)
def test_a_strategy_that_returns_nonsense_is_named_and_the_model_restored(unet, positional, attention, message):
    before = everything_of(unet)
    with pytest.raises(PluginError, match=message), installed(unet, positional, attention):
        call(unet, inputs(1, 5))
    assert everything_of(unet) == before
