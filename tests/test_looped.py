"""Windows in a ring: no frame is special, neither in the weights nor in what comes out of the UNet's attention."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import longtake
from longtake import AttentionStrategy, Span, Windows, installed, load_config, make_plan, read_facts, resolve
from longtake.core.engine.split import Split
from longtake.core.engine.transformer import Transformer, temporal_block, token_bias
from longtake.core.errors import PluginError
from longtake.core.seams import Seams
from longtake.core.testing import check_strategy
from longtake.core.windows import SHAPES, ring_starts
from longtake.plugins.attention.freenoise import FreeNoiseWindows
from longtake.plugins.attention.looped import Looped

REGISTRY = longtake.load_plugins(third_party=False).registry
SVD = read_facts("stabilityai/stable-video-diffusion-img2vid")


@st.composite
def rings(draw: st.DrawFn, *, divides: bool = False) -> tuple[int, int, int]:
    """Return frames, size and stride; more frames than a window."""
    size = draw(st.integers(2, 30))
    stride = draw(st.integers(1, size))
    if divides:
        return stride * draw(st.integers(size // stride + 1, size // stride + 8)), size, stride
    return draw(st.integers(size + 1, 160)), size, stride


@given(ring=rings())
def test_windows_are_spread_evenly_and_at_most_a_stride_apart(ring):
    frames, size, stride = ring
    starts = ring_starts(frames, size, stride)
    gaps = [later - earlier for earlier, later in zip(starts, [*starts[1:], starts[0] + frames], strict=True)]
    assert max(gaps) <= stride
    assert max(gaps) - min(gaps) <= 1
    assert len(gaps) == -(-frames // stride)


@given(ring=rings(divides=True), fuse=st.sampled_from(sorted(SHAPES)))
def test_a_turn_by_the_stride_maps_windows_and_weights_on_themselves(ring, fuse):
    frames, size, stride = ring
    windows = Looped(window=size, stride=stride, fuse=fuse).windows(Span(frames=frames, trained=2))
    assert windows.ring
    assert list(windows.starts) == list(range(0, frames, stride))
    assert torch.equal(windows.weights_WF.roll(stride, dims=1), windows.weights_WF.roll(-1, dims=0))
    covered = sum(torch.zeros(frames).index_fill(0, frames_of(windows, start), 1.0) for start in windows.starts)
    assert torch.equal(covered.roll(stride), covered)


def frames_of(windows: Windows, start: int) -> torch.Tensor:
    inside = windows.inside(start)
    return torch.arange(windows.weights_WF.shape[1])[inside]


@given(ring=rings(), fuse=st.sampled_from(sorted(SHAPES)))
def test_an_identity_inside_the_windows_gives_the_video_back(ring, fuse):
    frames, size, stride = ring
    windows = Looped(window=size, stride=stride, fuse=fuse).windows(Span(frames=frames, trained=2))
    torch.testing.assert_close(windows.weights_WF.sum(dim=0), torch.ones(frames))
    video = torch.randn(frames, 3, generator=torch.Generator().manual_seed(frames))
    fused = torch.zeros_like(video)
    for start, weights in zip(windows.starts, windows.weights_WF, strict=True):
        assert len(set(frames_of(windows, start).tolist())) == size
        fused[windows.inside(start)] += (weights[:, None] * video)[windows.inside(start)]
    torch.testing.assert_close(fused, video, atol=1e-5, rtol=1e-5)


def test_frames_of_a_window_worked_by_hand():
    # 7 frames, windows of 4, a stride of 3: three windows, 7/3 apart on average, at 0, 2 and 4.
    windows = Looped(window=4, stride=3).windows(Span(frames=7, trained=4))
    assert list(windows.starts) == [0, 2, 4]
    assert windows.inside(2) == slice(2, 6)
    assert windows.inside(4).tolist() == [4, 5, 6, 0]
    # Frame 0 is the first of window 0 (1 of 1 2 2 1) and the last of window 2 (1): a half of each.
    torch.testing.assert_close(windows.weights_WF[:, 0], torch.tensor([1 / 2, 0, 1 / 2]))
    assert windows.weights_WF[:, 1].tolist() == [1, 0, 0]


@given(ring=rings(divides=True), seed=st.integers(0, 2**30))
def test_attention_of_a_turned_video_is_the_turned_attention(ring, seed):
    frames, size, stride = ring
    strategy, span = Looped(window=size, stride=stride), Span(frames=frames, trained=2)
    q, k, v = torch.randn(3, 2, 2, frames, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    seen = strategy.attend(q, k, v, span, None)
    turned = strategy.attend(*(each.roll(stride, dims=2) for each in (q, k, v)), span, None)
    torch.testing.assert_close(turned, seen.roll(stride, dims=2), atol=1e-6, rtol=0)


def test_attention_worked_out_window_by_window():
    """Oracle: softmax over the keys of each window in turn, also over the end, with a mask of the whole video."""

    class Sighted(Looped):
        def mask(self, span):
            frames = torch.arange(span.frames)
            return (frames[:, None] + frames) % 3 != 1

    frames, strategy = 9, Sighted(window=5, stride=2, fuse="gaussian")
    span = Span(frames=frames, trained=4)
    q, k, v = torch.randn(3, 2, 3, frames, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    windows, mask, expected = strategy.windows(span), strategy.mask(span), torch.zeros_like(q)
    for start, weights in zip(windows.starts, windows.weights_WF.double(), strict=True):
        inside = [(start + place) % frames for place in range(5)]
        for query in inside:
            keys = [key for key in inside if mask[query, key]]
            shares = (q[:, :, query, None] * k[:, :, keys]).sum(-1).div(8**0.5).softmax(-1)
            expected[:, :, query] += weights[query] * (shares[..., None] * v[:, :, keys]).sum(2)
    torch.testing.assert_close(strategy.attend(q, k, v, span, None), expected, atol=1e-6, rtol=0)


@pytest.fixture(scope="module")
def transformer(tiny_model):
    unet = tiny_model.pipeline.unet
    return Transformer(next(module for module in unet.modules() if hasattr(module, "temporal_transformer_blocks")))


@settings(max_examples=10)
@given(windows=st.integers(3, 6), stride=st.integers(1, 4), workspace=st.sampled_from([None, 1, 20_000]))
def test_the_temporal_block_turns_with_the_video(transformer, windows, stride, workspace):
    """With positions that each window counts from zero, nothing in the block knows a beginning."""
    block, frames = transformer.module.temporal_transformer_blocks[0], windows * stride + stride * (4 // stride)
    tokens = torch.randn(frames, 6, transformer.module.inner_dim, generator=torch.Generator().manual_seed(frames))
    token, seams = torch.randn(1, 16), Seams(4, None, Looped(window=4, stride=stride))
    turned = tokens.roll(stride, dims=0)
    with torch.no_grad():
        for each in (tokens, turned):
            transformer._temporal(block, each, token, seams, Split(workspace))
    torch.testing.assert_close(turned, tokens.roll(stride, dims=0), atol=1e-4, rtol=1e-4)


def test_the_temporal_block_sees_each_window_in_its_order(transformer):
    """Oracle: run the block on the frames of each window, gathered, and blend the weighted sum."""
    block, frames = transformer.module.temporal_transformer_blocks[0], 7
    tokens = torch.randn(frames, 3, transformer.module.inner_dim, generator=torch.Generator().manual_seed(1))
    token, strategy = torch.randn(1, 16), Looped(window=4, stride=3)
    seams, windows = Seams(4, None, strategy), strategy.windows(Span(frames=frames, trained=4))
    code = transformer.module.time_pos_embed(seams.code(4, transformer.module.in_channels, torch.device("cpu")))
    with torch.no_grad():
        fused, bias = torch.zeros_like(tokens), token_bias(block, token)
        for start, weights in zip(windows.starts, windows.weights_WF, strict=True):
            inside = [(start + place) % frames for place in range(4)]
            made = temporal_block(block, tokens[inside], code, bias, seams.attend)
            for place, frame in enumerate(inside):
                fused[frame] += weights[frame] * made[place]
        expected = tokens.lerp(fused, transformer.share)
        transformer._temporal(block, tokens, token, seams, Split())
    torch.testing.assert_close(tokens, expected, atol=1e-5, rtol=1e-5)


class Ring(AttentionStrategy):
    name = "ring"

    def windows(self, span):
        if span.frames <= span.trained:
            return None
        weights = torch.zeros(1, span.frames + 1)
        return Windows(span.frames + 1, [0], weights[:, :-1] + 1, ring=True)


class Slices(AttentionStrategy):
    """Windows as they were before there were rings: slices, one of them cut at the end of the video."""

    name = "slices"

    def windows(self, span):
        weights = torch.zeros(2, span.frames)
        weights[0, :4], weights[1, 4:] = 1, 1
        return Windows(4, [0, 4], weights)


def test_windows_that_are_no_ring_are_slices_as_ever():
    q, k, v = torch.randn(3, 2, 2, 7, 4, generator=torch.Generator().manual_seed(0))
    seen = Slices().attend(q, k, v, Span(frames=7, trained=4), None)
    for part in (slice(0, 4), slice(4, 7)):
        alone = torch.nn.functional.scaled_dot_product_attention(q[:, :, part], k[:, :, part], v[:, :, part])
        assert torch.equal(seen[:, :, part], alone)
    assert FreeNoiseWindows(window=4, stride=2).windows(Span(frames=9, trained=4)).inside(5) == slice(5, 9)


def plan(**asked):
    return make_plan(resolve(load_config({"frames": 30, "seed": 1} | asked, REGISTRY), SVD, REGISTRY), SVD)


def test_a_window_longer_than_its_ring_is_refused():
    with pytest.raises(PluginError, match="'ring' must give windows no longer than their ring, got 31 of 30"):
        plan(attention=Ring())
    with pytest.raises(AssertionError, match="'ring' must give windows no longer than their ring"):
        check_strategy(Ring())
    with pytest.raises(ValueError, match="not be longer than the ring, got size=5 with frames=4"):
        ring_starts(4, 5, 1)


def test_the_plan_counts_frames_and_positions_of_a_ring():
    made = plan(attention="looped")
    assert made.windows.ring
    assert made.windows.local_positions
    assert made.positions_F.tolist() == list(range(14))
    assert made.windows.starts[-1] + made.windows.size > 30


def test_the_plan_shows_where_a_window_goes_on(cli):
    asked = ("plan", "--frames", "7", "--model", "{tiny}", "--attention", "looped", "--set", "attention.stride=3")
    shown = cli(*asked).stdout
    assert "attention windows of 4 frames, closed into a ring; each counts from zero" in " ".join(shown.split())
    rows = [line.split("│")[1:-1] for line in shown.split("attention windows of")[1].splitlines() if "│" in line]
    assert [[cell.strip() for cell in row] for row in rows[:3]] == [
        ["0", "0", "3", "1"],
        ["1", "2", "5", "2"],
        ["2", "4", "0", "2"],
    ]
    assert '"ring": true' in cli(*asked, "--json").stdout


def test_a_looped_video_is_made_in_any_chunks(tiny_model):
    unet, generator = tiny_model.pipeline.unet, torch.Generator().manual_seed(0)
    given_ = (torch.randn(1, 9, 8, 5, 6, generator=generator), torch.tensor(0.3))
    more = (torch.randn(1, 1, 16, generator=generator), torch.tensor([[6.0, 127.0, 0.02]]))
    for positions in ("local", "global"):
        with torch.no_grad(), installed(unet, None, Looped(positions=positions)) as seams:
            whole = unet(*given_, *more, return_dict=False)[0]
            seams.engine.split = Split(1, keep=False)
            pieces = unet(*given_, *more, return_dict=False)[0]
        assert torch.isfinite(whole).all()
        torch.testing.assert_close(pieces, whole, atol=1e-5, rtol=0)
