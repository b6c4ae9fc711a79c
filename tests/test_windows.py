"""Windows cover every frame with weights that sum to one, for every length, size and stride."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from longtake import Span
from longtake.core.windows import fused_weights, pyramid, window_starts
from longtake.plugins.attention.freenoise import FreeNoiseWindows
from longtake.plugins.attention.strided import Strided


@st.composite
def layouts(draw: st.DrawFn) -> tuple[int, int, int]:
    size = draw(st.integers(1, 60))
    return draw(st.integers(1, 400)), size, draw(st.integers(1, size))


@given(layout=layouts())
def test_every_frame_is_covered_and_its_weights_sum_to_one(layout):
    frames, size, stride = layout
    starts = window_starts(frames, size, stride)
    weights = fused_weights(frames, size, starts)
    covered = {frame for start in starts for frame in range(start, min(start + size, frames))}
    assert covered == set(range(frames))
    torch.testing.assert_close(weights.sum(dim=0), torch.ones(frames))
    assert (weights >= 0).all()


@given(layout=layouts())
def test_windows_advance_and_the_last_ends_on_the_last_frame(layout):
    frames, size, stride = layout
    starts = window_starts(frames, size, stride)
    assert starts[0] == 0
    assert all(0 < later - earlier <= stride for earlier, later in pairwise(starts))
    assert starts[-1] + min(size, frames) == frames


@given(layout=layouts(), seed=st.integers(0, 2**30))
def test_an_identity_inside_the_windows_gives_the_video_back(layout, seed):
    frames, size, stride = layout
    video = torch.randn(frames, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    starts = window_starts(frames, size, stride)
    fused = torch.zeros_like(video)
    for start, weights in zip(starts, fused_weights(frames, size, starts).double(), strict=True):
        fused[start : start + size] += weights[start : start + size, None] * video[start : start + size]
    torch.testing.assert_close(fused, video, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("size", "expected"), [(1, [1]), (2, [1, 1]), (5, [1, 2, 3, 2, 1]), (6, [1, 2, 3, 3, 2, 1])])
def test_weights_rise_from_both_ends_to_the_middle(size, expected):
    assert pyramid(size).tolist() == expected


@pytest.mark.parametrize("stride", [0, -1, 5])
def test_a_stride_that_loses_frames_is_refused_with_both_numbers(stride):
    with pytest.raises(ValueError, match=f"stride={stride} with size=4"):
        window_starts(10, 4, stride)


def test_freenoise_worked_by_hand():
    # 7 frames, windows of 4 every 2, the last one moved to end on frame 6: starts 0, 2, 3.
    windows = FreeNoiseWindows(window=4, stride=2).windows(Span(frames=7, trained=4))
    assert windows.starts == [0, 2, 3]
    # Triangles 1 2 2 1: frame 2 has 2 and 1; frame 3 has 1, 2 and 1; frame 5 has 1 and 2.
    torch.testing.assert_close(windows.weights_WF[:, 2], torch.tensor([2 / 3, 1 / 3, 0]))
    torch.testing.assert_close(windows.weights_WF[:, 3], torch.tensor([1 / 4, 2 / 4, 1 / 4]))
    torch.testing.assert_close(windows.weights_WF[:, 5], torch.tensor([0, 1 / 3, 2 / 3]))
    assert windows.weights_WF[:, 6].tolist() == [0, 0, 1]


@given(frames=st.integers(1, 200), length=st.integers(2, 30), data=st.data())
def test_freenoise_attention_of_a_constant_is_that_constant(frames, length, data):
    window = data.draw(st.integers(2, 40))
    strategy = FreeNoiseWindows(window=window, stride=data.draw(st.integers(1, window)))
    span = Span(frames=frames, trained=length)
    q, k = torch.randn(2, 2, 2, frames, 4, generator=torch.Generator().manual_seed(3))
    seen = strategy.attend(q, k, torch.full_like(q, 0.7), span, None)
    torch.testing.assert_close(seen, torch.full_like(q, 0.7))


@given(frames=st.integers(5, 120), data=st.data())
def test_strided_sees_neighbours_every_nth_and_the_first_and_nothing_else(frames, data):
    radius, every = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 20))
    first = data.draw(st.booleans())
    mask = Strided(radius=radius, every=every, first=first).mask(Span(frames=frames, trained=4))
    for query in range(frames):
        for key in range(frames):
            far = key % every == every // 2 or (first and key == 0)
            assert mask[query, key].item() == (abs(query - key) <= radius or far)


def test_strided_sees_about_as_many_frames_as_in_training():
    for frames in (28, 56, 112, 1000):
        seen = Strided().mask(Span(frames=frames, trained=14)).sum(dim=1)
        assert seen.min() >= 7
        assert seen.max() <= 17
