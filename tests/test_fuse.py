"""How windows over the same frame are weighted: every kind, for every length, size and stride, in rows and in rings."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import longtake
from longtake import Span
from longtake.core.errors import ConfigError
from longtake.core.windows import SHAPES, fused_weights, ring_starts, window_starts
from longtake.plugins.attention.freenoise import FreeNoiseWindows

REGISTRY = longtake.load_plugins(third_party=False).registry
KINDS = sorted(SHAPES)


@st.composite
def layouts(draw: st.DrawFn) -> tuple[int, int, list[int], bool]:
    """Return frames, window size, starts, and whether they form a ring."""
    size = draw(st.integers(1, 40))
    stride, ring = draw(st.integers(1, size)), draw(st.booleans())
    frames = draw(st.integers(size if ring else 1, 200))
    return frames, size, (ring_starts if ring else window_starts)(frames, size, stride), ring


def inside(frames: int, size: int, start: int) -> torch.Tensor:
    return (start + torch.arange(min(size, frames))) % frames


@given(layout=layouts(), kind=st.sampled_from(KINDS))
def test_weights_sum_to_one_and_a_frame_with_one_window_has_exactly_one(layout, kind):
    frames, size, starts, ring = layout
    weights = fused_weights(frames, size, starts, kind, ring=ring)
    assert weights.dtype == torch.float32
    covered = torch.zeros(len(starts), frames)
    for row, start in zip(covered, starts, strict=True):
        row[inside(frames, size, start)] = 1
    assert ((weights > 0) <= (covered > 0)).all()
    torch.testing.assert_close(weights.sum(dim=0), torch.ones(frames))
    alone = covered.sum(dim=0) == 1
    assert (weights.sum(dim=0)[alone] == 1).all()


@given(layout=layouts(), kind=st.sampled_from(KINDS), seed=st.integers(0, 2**30))
def test_an_identity_inside_gives_the_input_back(layout, kind, seed):
    frames, size, starts, ring = layout
    video = torch.randn(frames, 3, generator=torch.Generator().manual_seed(seed))
    fused = torch.zeros_like(video)
    for start, weights in zip(starts, fused_weights(frames, size, starts, kind, ring=ring), strict=True):
        frames_of = inside(frames, size, start)
        fused[frames_of] += weights[frames_of, None] * video[frames_of]
    torch.testing.assert_close(fused, video, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [5, 6])
def test_a_shape_stands_the_same_way_round_in_every_window_of_a_ring(kind, size):
    # 12 frames, windows every 3: four windows, the last of which goes on over the end for either size.
    starts = ring_starts(12, size, 3)
    weights = fused_weights(12, size, starts, kind, ring=True)
    for earlier, later in pairwise(weights):
        assert torch.equal(earlier.roll(3), later)


# 8 frames, windows of 4 every 2: starts 0, 2, 4. Frames 2, 3 are in windows 0 and 1, frames 4, 5 in windows 1 and 2.
BY_HAND = {
    # 1 and 1.
    "flat": ([1 / 2, 1 / 2], [1 / 2, 1 / 2]),
    # 1 2 2 1: frame 2 has 2 of window 0 and 1 of window 1, frame 3 has 1 and 2.
    "pyramid": ([2 / 3, 1 / 3], [1 / 3, 2 / 3]),
    # The same, since ramps over two shared frames are 1/3 2/3 up and 2/3 1/3 down.
    "overlap-linear": ([2 / 3, 1 / 3], [1 / 3, 2 / 3]),
    # Standard deviation 4/6: 1.5 and 0.5 from the middle weigh e^(-81/32) = 0.0796 and e^(-9/32) = 0.7548.
    "gaussian": ([0.90465, 0.09535], [0.09535, 0.90465]),
    # Window 0 has 1 1 1 1/2, the others 0.01 0.01 1 1/2: frame 2 has 1 and 0.01, frame 3 has 1/2 and 0.01.
    "delayed-sawtooth": ([0.990099, 0.009901], [0.980392, 0.019608]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_weights_worked_out_by_hand(kind):
    weights = FreeNoiseWindows(window=4, stride=2, fuse=kind).windows(Span(frames=8, trained=4)).weights_WF
    for frame, expected in zip((2, 3), BY_HAND[kind], strict=True):
        torch.testing.assert_close(weights[:2, frame], torch.tensor(expected), atol=5e-5, rtol=0)
    assert weights[0, :2].tolist() == [1, 1]
    assert weights[2, 6:].tolist() == [1, 1]


def test_ramps_lie_only_where_windows_meet():
    # 10 frames, windows of 6 at 0 and 4: they share 4 and 5, which are 2/3 and 1/3 of the first; no ramps at the ends.
    weights = fused_weights(10, 6, [0, 4], "overlap-linear")
    expected = torch.tensor([1, 1, 1, 1, 2 / 3, 1 / 3, 0, 0, 0, 0])
    torch.testing.assert_close(weights[0], expected)
    torch.testing.assert_close(weights[1], expected.flip(0))


def test_late_joiners_hardly_count_in_an_odd_window():
    # Windows of 5 at 0 and 2: 1 1 1 2/3 1/3 and, joining late, 0.01 0.01 1 2/3 1/3.
    weights = fused_weights(7, 5, [0, 2], "delayed-sawtooth")
    expected = [1, 1, 1 / 1.01, 200 / 203, 1 / 4, 0, 0]
    torch.testing.assert_close(weights[0], torch.tensor(expected))


@given(frames=st.integers(5, 150), kind=st.sampled_from(KINDS), data=st.data())
def test_fused_attention_of_a_constant_is_that_constant(frames, kind, data):
    window = data.draw(st.integers(2, 40))
    strategy = FreeNoiseWindows(window=window, stride=data.draw(st.integers(1, window)), fuse=kind)
    q, k = torch.randn(2, 2, 2, frames, 4, generator=torch.Generator().manual_seed(3))
    seen = strategy.attend(q, k, torch.full_like(q, 0.7), Span(frames=frames, trained=4), None)
    torch.testing.assert_close(seen, torch.full_like(q, 0.7))


def test_the_default_is_the_pyramid_in_every_bit():
    span = Span(frames=61, trained=14)
    made, starts = FreeNoiseWindows().windows(span), window_starts(61, 14, 3)
    expected = torch.zeros(len(starts), 61)
    for row, start in zip(expected, starts, strict=True):
        row[start : start + 14] = torch.tensor([*range(1, 8), *range(7, 0, -1)])
    assert torch.equal(made.weights_WF, expected / expected.sum(dim=0))


def test_another_kind_of_weights_is_refused_with_those_that_there_are():
    with pytest.raises(ConfigError, match=r"attention.fuse should be 'flat', 'pyramid', .* got 'steep'"):
        REGISTRY.build("attention", {"name": "freenoise", "fuse": "steep"})
