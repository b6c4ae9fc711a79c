"""Noise, guidance, sigmas and motion: numbers in, numbers out."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers.schedulers import AysSchedules
from hypothesis import given
from hypothesis import strategies as st

from longtake import Span
from longtake.schedules.guidance import Constant, Linear, Triangle
from longtake.schedules.motion import Compensated
from longtake.schedules.motion import Linear as LinearMotion
from longtake.schedules.noise import FreeNoise, Independent, Repeat
from longtake.schedules.sigmas import AlignYourSteps, Karras


def sources(strategy, frames: int, trained: int = 14, seed: int = 0) -> torch.Tensor:
    return strategy.sources(Span(frames=frames, trained=trained), torch.Generator().manual_seed(seed))


@st.composite
def shuffles(draw: st.DrawFn) -> tuple[int, int, int]:
    window = draw(st.integers(1, 40))
    return draw(st.integers(1, 300)), window, draw(st.integers(1, window))


@given(shuffle=shuffles(), seed=st.integers(0, 2**30))
def test_freenoise_permutes_each_block_from_the_block_a_window_earlier(shuffle, seed):
    frames, window, stride = shuffle
    order = sources(FreeNoise(window=window, stride=stride), frames, seed=seed)
    assert order[:window].tolist() == list(range(min(window, frames)))
    for start in range(window, frames, stride):
        block, earlier = order[start : start + stride], order[start - window : start - window + stride]
        if len(block) == stride:
            assert sorted(block.tolist()) == sorted(earlier.tolist())
        else:  # the last, shorter one
            assert set(block.tolist()) <= set(earlier.tolist())
            assert len(set(block.tolist())) == len(block)


@given(frames=st.integers(2, 200), seed=st.integers(0, 2**30))
def test_freenoise_is_reproducible_and_depends_on_the_seed(frames, seed):
    assert torch.equal(sources(FreeNoise(), frames, seed=seed), sources(FreeNoise(), frames, seed=seed))
    orders = {tuple(sources(FreeNoise(), 400, seed=seed + offset).tolist()) for offset in range(3)}
    assert len(orders) == 3


@pytest.mark.parametrize("strategy", [Independent(), FreeNoise(), Repeat(), FreeNoise(window=5, stride=3)])
@pytest.mark.parametrize("frames", [14, 29, 100])
def test_noise_has_unit_variance_at_every_frame(strategy, frames):
    order = sources(strategy, frames)
    noise = strategy.noise((2, frames, 4, 48, 64), order, torch.Generator().manual_seed(1))
    assert noise.shape == (2, frames, 4, 48, 64)
    # 24576 values a frame: the deviation of a deviation is 1 / sqrt(2 · 24576) = 0.0045.
    assert (noise.std(dim=(0, 2, 3, 4)) - 1).abs().max() < 0.025
    assert noise.mean(dim=(0, 2, 3, 4)).abs().max() < 0.035


@given(frames=st.integers(1, 60), window=st.integers(1, 30))
def test_repeat_repeats(frames, window):
    assert sources(Repeat(window=window), frames).tolist() == [frame % window for frame in range(frames)]


def test_independent_noise_is_one_draw_as_in_the_pipeline():
    drawn = torch.randn((1, 9, 4, 3, 5), generator=torch.Generator().manual_seed(5))
    order = sources(Independent(), 9)
    assert torch.equal(Independent().noise((1, 9, 4, 3, 5), order, torch.Generator().manual_seed(5)), drawn)


@given(frames=st.integers(2, 300), low=st.floats(0, 5), high=st.floats(0, 5))
def test_guidance_has_its_values_where_it_says(frames, low, high):
    span = Span(frames=frames, trained=14)
    linear, triangle = Linear(min=low, max=high).scales(span), Triangle(min=low, max=high).scales(span)
    torch.testing.assert_close(linear[[0, -1]], torch.tensor([low, high]))
    torch.testing.assert_close(triangle[[0, -1]], torch.tensor([low, low]))
    torch.testing.assert_close(triangle, triangle.flip(0), atol=1e-5, rtol=1e-4)
    if frames % 2:
        torch.testing.assert_close(triangle[frames // 2], torch.tensor(high), atol=1e-5, rtol=1e-4)
    assert torch.equal(Constant(scale=low).scales(span), torch.full((frames,), low))


@given(steps=st.integers(1, 200), sigma_max=st.floats(10, 1000))
def test_karras_equals_the_scheduler_of_diffusers(make_scheduler, steps, sigma_max):
    oracle = make_scheduler(sigma_max=sigma_max)
    oracle.set_timesteps(steps)
    torch.testing.assert_close(Karras().sigmas(steps, 0.002, sigma_max), oracle.sigmas, rtol=1e-6, atol=0)


def test_ays_gives_all_eleven_published_values():
    published = AysSchedules["StableDiffusionVideoSigmas"]
    assert AlignYourSteps().sigmas(10, 0.002, 700.0).tolist() == torch.tensor(published).tolist()
    assert published[-1] == 0 and len(published) == 11


AYS_TABLE = [700.00, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002]


@given(steps=st.integers(1, 100))
def test_ays_at_other_counts_is_interpolated_over_all_eleven_levels(steps):
    """Oracle: level i of n is at 10 i / n in the table, a geometric mean of the two levels around it; the last is 0."""
    expected = []
    for level in range(steps):
        before, along = divmod(10 * level, steps)
        expected.append(AYS_TABLE[before] ** (1 - along / steps) * AYS_TABLE[before + 1] ** (along / steps))
    sigmas = AlignYourSteps().sigmas(steps, 0.002, 700.0)
    torch.testing.assert_close(sigmas, torch.tensor([*expected, 0]), rtol=1e-6, atol=0)


def test_ays_at_twenty_steps_ends_as_published():
    last = AlignYourSteps().sigmas(20, 0.002, 700.0)[-4:]
    # 0.0767 is between 0.173 and 0.034, 0.0082 between 0.034 and 0.002.
    torch.testing.assert_close(last, torch.tensor([0.0767, 0.034, 0.00825, 0]), rtol=1e-3, atol=0)


@given(steps=st.integers(1, 100), sigma_max=st.floats(1, 1000))
def test_ays_of_another_top_begins_there_and_falls_to_zero(steps, sigma_max):
    sigmas = AlignYourSteps().sigmas(steps, 0.002, sigma_max)
    torch.testing.assert_close(sigmas[0].item(), sigma_max, rtol=1e-5, atol=0)
    assert (sigmas.diff() < 0).all()
    assert sigmas[-1] == 0


def test_ays_of_another_top_keeps_its_shape():
    """Ten steps from 70: of each level's logarithm above that of 0.034, ln(70 / 0.034) / ln(700 / 0.034) is left."""
    share = math.log(70 / 0.034) / math.log(700 / 0.034)
    expected = [0.034 * (level / 0.034) ** share for level in AYS_TABLE[:-1]]
    torch.testing.assert_close(
        AlignYourSteps().sigmas(10, 0.002, 70.0), torch.tensor([*expected, 0]), rtol=1e-5, atol=0
    )


@given(frames=st.integers(2, 300), bucket=st.floats(0, 300))
def test_motion_is_raised_with_the_stretch_up_to_its_limit_and_never_lowered(frames, bucket):
    span = Span(frames=frames, trained=14)
    raised = Compensated().buckets(bucket, span)
    assert raised.shape == (frames,)
    expected = max(bucket, min(255, bucket * span.stretch))
    torch.testing.assert_close(raised, torch.full((frames,), float(expected)))


@given(frames=st.integers(2, 300), fps=st.floats(1, 60), strength=st.floats(0, 2))
def test_more_motion_may_be_asked_for_by_a_lower_frame_rate(frames, fps, strength):
    span = Span(frames=frames, trained=14)
    schedule = Compensated(by="fps", strength=strength)
    expected = min(fps, max(1, fps / span.stretch**strength))
    torch.testing.assert_close(schedule.rates(fps, span), torch.full((frames,), float(expected)))
    assert schedule.buckets(100, span).tolist() == [100] * frames
    assert Compensated(strength=strength).rates(fps, span).tolist() == pytest.approx([fps] * frames)


def test_linear_motion_goes_from_what_is_asked_to_the_last():
    span = Span(frames=5, trained=14)
    schedule = LinearMotion(last_bucket=20, last_fps=15)
    assert schedule.buckets(100, span).tolist() == [100, 80, 60, 40, 20]
    assert schedule.rates(7, span).tolist() == [7, 9, 11, 13, 15]
    assert LinearMotion().buckets(100, span).tolist() == [100] * 5
