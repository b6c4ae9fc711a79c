"""Positional strategies: the properties that their formulas promise, over lengths that nobody thought of."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from longtake import Span
from longtake.core.embedding import trained_frequencies
from longtake.positional.dynamic import Dynamic
from longtake.positional.linear import Linear
from longtake.positional.none import Unchanged
from longtake.positional.ntk import Ntk
from longtake.positional.yarn import Yarn

trained = st.integers(2, 40)
channels = st.integers(2, 700).map(lambda half: 2 * half)
progress = st.floats(0, 1)


@st.composite
def stretched_spans(draw: st.DrawFn) -> Span:
    length = draw(trained)
    return Span(frames=draw(st.integers(length + 1, 1500)), trained=length, progress=draw(progress))


def positions(strategy, span: Span) -> torch.Tensor:
    return strategy.positions(torch.arange(span.frames, dtype=torch.float32), span)


@given(span=stretched_spans(), align=st.sampled_from(["step", "ends"]))
def test_linear_positions_rise_strictly_and_pass_the_trained_ones_by_less_than_a_frame(span, align):
    places = positions(Linear(align=align), span)
    assert places[0] == 0
    assert (places.diff() > 0).all()
    beyond = places[-1] - (span.trained - 1)
    assert beyond < 1
    assert align == "step" or beyond <= 1e-4
    # At most one trained frame apart, so nothing moves faster than in training.
    assert places.diff().max() <= 1


@given(span=stretched_spans())
def test_linear_ends_where_its_alignment_says(span):
    length, frames = span.trained, span.frames
    torch.testing.assert_close(positions(Linear(), span)[-1].item(), length - length / frames, atol=1e-4, rtol=0)
    torch.testing.assert_close(positions(Linear(align="ends"), span)[-1].item(), length - 1.0, atol=1e-4, rtol=0)


def test_the_last_frames_of_the_default_stand_beyond_the_last_trained_position():
    """As its text says: 13.75 for 56 frames of 14, whose trained positions are 0 to 13."""
    places = positions(Linear(), Span(frames=56, trained=14))
    assert places[52:].tolist() == [13, 13.25, 13.5, 13.75]
    assert positions(Linear(align="ends"), Span(frames=56, trained=14))[-1].item() == pytest.approx(13)


@given(span=stretched_spans(), factor=st.floats(1, 50))
def test_a_fixed_factor_is_obeyed_whatever_the_length(span, factor):
    torch.testing.assert_close(positions(Linear(factor=factor), span) * factor, torch.arange(span.frames).float())


@given(span=stretched_spans(), channels=channels)
def test_ntk_keeps_the_fastest_divides_the_slowest_by_the_stretch_and_keeps_the_order(span, channels):
    frequencies = trained_frequencies(channels)
    scaled = Ntk().frequencies(frequencies, span)
    assert scaled[0] == frequencies[0]
    torch.testing.assert_close(scaled[-1], frequencies[-1] / span.stretch)
    assert (scaled.diff() < 0).all()


@given(span=stretched_spans(), channels=channels)
def test_ntk_is_a_larger_base(span, channels):
    base = 10_000.0 * span.stretch ** (channels / (channels - 2))
    exponents = torch.arange(channels // 2, dtype=torch.float64) * 2 / channels
    expected = (base**-exponents).float()
    torch.testing.assert_close(Ntk().frequencies(trained_frequencies(channels), span), expected, rtol=1e-4, atol=0)


@st.composite
def bounds(draw: st.DrawFn) -> tuple[float, float]:
    slow = draw(st.floats(0, 3))
    return slow, slow + draw(st.floats(0.01, 3))


@given(span=stretched_spans(), channels=channels, bounds=bounds())
def test_by_parts_lies_between_linear_and_none_and_equals_them_beyond_its_bounds(span, channels, bounds):
    slow, fast = bounds
    frequencies = trained_frequencies(channels)
    scaled = Yarn(beta_slow=slow, beta_fast=fast).frequencies(frequencies, span)
    linear = frequencies / span.stretch
    assert (scaled >= linear * (1 - 1e-6)).all()
    assert (scaled <= frequencies * (1 + 1e-6)).all()
    rotations = span.trained * frequencies / (2 * math.pi)
    assert torch.equal(scaled[rotations <= slow], linear[rotations <= slow])
    assert torch.equal(scaled[rotations >= fast], frequencies[rotations >= fast])


@pytest.mark.parametrize("length", [14, 25])
def test_by_parts_with_its_default_bounds_treats_frequencies_differently(length):
    frequencies = trained_frequencies(320)
    ratios = frequencies / Yarn().frequencies(frequencies, Span(frames=4 * length, trained=length))
    torch.testing.assert_close(ratios[0].item(), 1.0, atol=1e-5, rtol=0)
    assert ratios[-1] == 4
    blended = (ratios > 1.01) & (ratios < 3.99)
    assert blended.sum() > 10


def test_the_temperature_is_that_of_the_paper():
    at = {s: Yarn().temperature(Span(frames=14 * s, trained=14)) for s in (1, 2, 4)}
    assert at[1] == 1.0
    assert round(at[2], 3) == 1.143  # (0.1 ln 2 + 1)²
    assert round(at[4], 3) == 1.296  # (0.1 ln 4 + 1)²
    assert Yarn(sharpening=0).temperature(Span(frames=56, trained=14)) == 1.0


def test_bounds_out_of_order_are_refused_with_both_numbers():
    with pytest.raises(ValidationError, match=r"beta_fast=0\.5 with beta_slow=1\.0"):
        Yarn(beta_fast=0.5)


@given(span=stretched_spans(), align=st.sampled_from(["step", "ends"]))
def test_dynamic_linear_is_linear(span, align):
    inner = Linear(align=align)
    torch.testing.assert_close(positions(Dynamic(of=inner), span), positions(inner, span))


@given(span=stretched_spans(), alpha=st.floats(1, 8), channels=channels)
def test_dynamic_ntk_has_the_published_base(span, alpha, channels):
    grown = alpha * span.frames / span.trained - (alpha - 1)
    base = 10_000.0 * grown ** (channels / (channels - 2))
    exponents = torch.arange(channels // 2, dtype=torch.float64) * 2 / channels
    scaled = Dynamic(of=Ntk(), alpha=alpha).frequencies(trained_frequencies(channels), span)
    torch.testing.assert_close(scaled, (base**-exponents).float(), rtol=1e-4, atol=0)


def test_dynamic_refuses_a_strategy_with_a_factor_of_its_own():
    with pytest.raises(ValidationError, match=r"its own must not be set, got factor=3\.0"):
        Dynamic(of=Linear(factor=3))


@pytest.mark.parametrize("options", [{"beta_slow": math.inf}, {"beta_fast": math.inf}, {"sharpening": math.inf}])
def test_options_are_finite(options):
    with pytest.raises(ValidationError, match="finite number"):
        Yarn(**options)


def test_a_range_that_ends_before_it_begins_is_refused():
    with pytest.raises(ValidationError, match=r"start=0\.8 with stop=0\.2"):
        Linear(start=0.8, stop=0.2)


@given(span=stretched_spans(), first=st.floats(0, 1), last=st.floats(0, 1))
def test_dynamic_moves_its_share_along_the_denoising(span, first, last):
    strategy = Dynamic(of=Linear(), first=first, last=last)
    share = first + (last - first) * span.progress
    factor = 1 + (span.stretch - 1) * share
    torch.testing.assert_close(positions(strategy, span), positions(Unchanged(), span) / factor)


@given(start=st.floats(0, 1), stop=st.floats(0, 1), steps=st.integers(1, 60))
def test_two_ranges_share_the_steps_without_gap_or_overlap(start, stop, steps):
    assume(start <= stop)
    ranges = [Linear(stop=start), Linear(start=start, stop=stop), Linear(start=stop)]
    # An empty range [0, 0) or [1, 1) is legal and acts at no step, but the end point belongs to the last range.
    for step in range(steps):
        here = step / (steps - 1) if steps > 1 else 0.0
        acting = [strategy for strategy in ranges if strategy.active(here)]
        assert len(acting) == 1 or stop == 1.0 or start == 1.0


def test_span_knows_its_stretch():
    assert Span(frames=10, trained=14).stretch == 1
    assert Span(frames=28, trained=14).stretch == 2
    assert Span(frames=28, trained=14, factor=3).stretch == 3
