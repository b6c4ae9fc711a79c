"""Positional strategies beyond interpolation: bands, factors one by one, closed paths, shared and held positions."""

from __future__ import annotations

import json
import math

import jsonschema
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from longtake import PositionalStrategy, Span, load_plugins
from longtake.core.cli.listing import strategy_rows
from longtake.core.cli.schema import config_schema
from longtake.core.embedding import embed, trained_frequencies
from longtake.core.errors import ConfigError
from longtake.positional.circular import Circular
from longtake.positional.clamp import Clamp
from longtake.positional.dynamic import Dynamic
from longtake.positional.grouped import Grouped
from longtake.positional.linear import Linear
from longtake.positional.longrope import LongRope
from longtake.positional.pingpong import PingPong
from longtake.positional.riflex import Riflex

REGISTRY = load_plugins(third_party=False).registry
channels = st.integers(2, 700).map(lambda half: 2 * half)


class Particular(PositionalStrategy):
    """A strategy of a third party that can only be asked about videos of its own length."""

    name = "particular"

    def positions(self, frames_F, span):
        if span.frames != 99:
            raise ConfigError(f"particular is for 99 frames, got {span.frames}")
        return frames_F / span.stretch


@st.composite
def spans(draw: st.DrawFn) -> Span:
    length = draw(st.integers(2, 40))
    return Span(frames=draw(st.integers(length + 1, 900)), trained=length, progress=draw(st.floats(0, 1)))


def positions(strategy, span: Span) -> torch.Tensor:
    return strategy.positions(torch.arange(span.frames, dtype=torch.float32), span)


@given(span=spans())
def test_pingpong_stays_in_the_trained_range_and_never_leaps(span):
    places = positions(PingPong(), span)
    assert places.min() == 0
    assert places.max() == span.trained - 1
    assert torch.equal(places.diff().abs(), torch.ones(span.frames - 1))


def test_pingpong_worked_out_by_hand():
    assert positions(PingPong(), Span(frames=9, trained=4)).tolist() == [0, 1, 2, 3, 2, 1, 0, 1, 2]


@given(span=spans())
def test_clamp_counts_up_to_the_last_trained_position_and_stays(span):
    places = positions(Clamp(), span)
    assert places.tolist() == [min(frame, span.trained - 1) for frame in range(span.frames)]


@given(span=spans())
def test_groups_are_those_of_whole_number_arithmetic(span):
    places = positions(Grouped(), span)
    assert places.tolist() == [frame * span.trained // span.frames for frame in range(span.frames)]
    assert places.max() == span.trained - 1


def test_a_group_begins_where_the_quotient_is_whole():
    # Groups of 16/14: frame 8 begins the one of 8 · 14/16 = 7, which in single precision is a little less.
    places = positions(Grouped(), Span(frames=16, trained=14))
    assert places.tolist() == [0, 0, 1, 2, 3, 4, 5, 6, 7, 7, 8, 9, 10, 11, 12, 13]


@given(span=spans(), way=st.sampled_from(["back", "round"]), half=st.integers(2, 300))
def test_on_a_closed_path_the_frame_after_the_last_is_the_first(span, way, half):
    strategy, freqs = Circular(way=way), trained_frequencies(2 * half).double()
    frames = torch.arange(span.frames + 1, dtype=torch.float64)
    codes = embed(strategy.positions(frames, span), strategy.frequencies(freqs, span))
    torch.testing.assert_close(codes[-1], codes[0], atol=1e-3, rtol=0)
    steps = (codes[1:] - codes[:-1]).norm(dim=1)
    assert steps[-1] <= steps[:-1].max() * 1.01 + 1e-3


@given(span=spans())
def test_the_way_back_is_through_trained_positions_and_symmetric(span):
    places = positions(Circular(), span)
    assert places.min() >= 0
    assert places.max() <= span.trained - 1 + 1e-4
    torch.testing.assert_close(places[1:], places[1:].flip(0), atol=1e-3, rtol=0)


@given(span=spans(), channels=channels, width=st.floats(0, 0.9))
def test_riflex_lowers_a_band_by_one_ratio_and_nothing_else(span, channels, width):
    freqs = trained_frequencies(channels)
    ratios = Riflex(width=width).frequencies(freqs, span) / freqs
    assert (ratios <= 1).all()
    lowered = ratios < 1 - 1e-6
    periods = 2 * math.pi / freqs
    nearest = (periods / span.trained).log().abs().argmin()
    assert (((periods[lowered] - periods[nearest]) / periods[nearest]).abs() <= width + 1e-5).all()
    if lowered.any():
        torch.testing.assert_close(ratios[lowered], ratios[lowered][0].expand(int(lowered.sum())))


def test_riflex_worked_out_by_hand():
    # Trained on 10, asked for 20. Periods 8, 10, 11 and 40: 10 is the one at which a video of 10 repeats itself, and is
    # to be 0.9 of its way round after 20 frames: a period of 20 / 0.9. The ratio is 10 / (20 / 0.9) = 0.45.
    freqs = 2 * math.pi / torch.tensor([8.0, 10.0, 11.0, 40.0])
    span = Span(frames=20, trained=10)
    alone = Riflex(width=0).frequencies(freqs, span) / freqs
    torch.testing.assert_close(alone, torch.tensor([1, 0.45, 1, 1]))
    band = Riflex(width=0.15).frequencies(freqs, span) / freqs  # 11 is within 15 % of 10, 8 is not
    torch.testing.assert_close(band, torch.tensor([1, 0.45, 0.45, 1]))
    earlier = Riflex(width=0, repeats_at=8.5).frequencies(freqs, span) / freqs  # 8 · 0.9 / 20
    torch.testing.assert_close(earlier, torch.tensor([0.36, 1, 1, 1]))


def test_a_band_of_svd_is_as_wide_as_its_levels_are_fine():
    span = Span(frames=56, trained=14)
    counts = [
        int((Riflex().frequencies(freqs, span) < freqs * 0.99).sum())
        for freqs in map(trained_frequencies, (320, 640, 1280))
    ]
    assert counts == [7, 14, 28]


@given(span=spans(), channels=channels, factors=st.lists(st.floats(1, 50), min_size=2, max_size=40))
def test_longrope_divides_by_what_is_listed(span, channels, factors):
    factors.sort()
    freqs = trained_frequencies(channels)
    divided = freqs / LongRope(factors=factors).frequencies(freqs, span)
    torch.testing.assert_close(divided[[0, -1]], torch.tensor([factors[0], factors[-1]]), rtol=1e-4, atol=0)
    assert (divided.diff() >= -1e-3).all()


def test_longrope_worked_out_by_hand():
    # Three factors for five frequencies: between 1 and 2 lies 1.5, between 2 and 4 lies 3.
    freqs, span = trained_frequencies(10), Span(frames=40, trained=10)
    divided = freqs / LongRope(factors=[1, 2, 4]).frequencies(freqs, span)
    torch.testing.assert_close(divided, torch.tensor([1, 1.5, 2, 3, 4]))
    # Half of the way in the logarithm of the stretch, 2 of 4: the square roots.
    half = Dynamic(of=LongRope(factors=[1, 2, 4]), first=1 / 3, last=1 / 3).frequencies(freqs, span)
    torch.testing.assert_close(freqs / half, torch.tensor([1, 1.5, 2, 3, 4]).sqrt())


@pytest.mark.parametrize(
    "text",
    [
        "1 1.5\n4",
        "[1, 1.5, 4]",
        "- 1\n- 1.5\n- 4\n",
        "1, 1.5,4\n",
        "1\t1.5\t4e0\r\n",
        "# found by a search\n1\n1.5 # here\n4",
    ],
)
def test_factors_of_a_file_are_in_the_config(tmp_path, text):
    (tmp_path / "factors").write_text(text)
    strategy = REGISTRY.build("positional", {"name": "longrope", "factors": str(tmp_path / "factors")})
    assert json.loads(json.dumps(strategy.dump()))["factors"] == [1, 1.5, 4]
    assert REGISTRY.build("positional", strategy.dump()) == strategy


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        (
            [1, 3, 2, 2],
            "factors must not fall from fast frequencies to slow ones, got 3.0 at place 2 and then 2.0 at place 3 of 4",
        ),
        ([1], "factors must be 2 or more, for the fastest and the slowest frequency, got 1"),
        ([0.5, 1], "factors must be finite and at least 1, got 0.5 at place 1 of 2"),
        ("nope.txt", "file nope.txt of factors cannot be read: No such file or directory"),
        (".", "file . of factors cannot be read: Is a directory"),
        ("words", "file words must hold factors, a number for each frequency, and nothing else"),
        ("mapping", "file mapping must hold factors, a number for each frequency, and nothing else"),
        ("nested", "file nested must hold factors, a number for each frequency, and nothing else"),
        ("picture", "file picture must hold factors, a number for each frequency, and nothing else"),
        ("empty", "file empty must hold 2 or more factors, got 0"),
        ("low", "factors must be finite and at least 1, got 0.0 at place 1 of 640"),
    ],
)
def test_what_is_no_list_of_factors_is_refused_in_one_sentence(tmp_path, monkeypatch, factors, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words").write_text("one two")
    (tmp_path / "mapping").write_text("a: [1, 2]")
    (tmp_path / "nested").write_text("[[1], [2]]")
    (tmp_path / "picture").write_bytes(bytes(range(256)))
    (tmp_path / "empty").touch()
    (tmp_path / "low").write_text("0\n" * 640)
    with pytest.raises(ConfigError) as refused:
        REGISTRY.build("positional", {"name": "longrope", "factors": factors})
    assert str(refused.value) == f"positional.factors: {message}"


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_factors_are_finite(bad):
    with pytest.raises(ConfigError, match=f"positional.factors.1 should be a finite number, got {bad}"):
        REGISTRY.build("positional", {"name": "longrope", "factors": [1, bad]})


def test_a_huge_factor_stops_a_frequency_and_spoils_no_other():
    freqs, span = trained_frequencies(10), Span(frames=40, trained=10)
    stopped = Dynamic(of=LongRope(factors=[1, 1, 2.0**62]), alpha=4).frequencies(freqs, span)
    assert torch.equal(stopped[:3], freqs[:3])
    assert stopped[3:].tolist() == pytest.approx([0, 0], abs=1e-15)


def test_a_schema_lets_an_editor_take_a_list_or_a_file():
    row = next(row for row in strategy_rows(REGISTRY) if row["name"] == "longrope")
    assert next(option["type"] for option in row["options"] if option["name"] == "factors") == "list or file"
    schema = config_schema(REGISTRY)
    for factors in ([1, 2], "factors.json"):
        jsonschema.validate({"positional": {"name": "longrope", "factors": factors}}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"positional": {"name": "longrope", "factors": [0.5, 1]}}, schema)


def test_factors_have_to_be_given():
    with pytest.raises(ConfigError, match=r"positional\.factors has to be given: there is no default for it"):
        REGISTRY.build("positional", "longrope")


@given(span=spans(), shares=st.lists(st.floats(0, 1), min_size=2, max_size=6))
def test_dynamic_follows_any_schedule_of_shares(span, shares):
    strategy = Dynamic(of=Linear(), shares=shares)
    place = span.progress * (len(shares) - 1)
    before = min(math.floor(place), len(shares) - 2)
    share = shares[before] * (before + 1 - place) + shares[before + 1] * (place - before)
    expected = torch.arange(span.frames) / (1 + (span.stretch - 1) * share)
    torch.testing.assert_close(positions(strategy, span), expected, rtol=1e-4, atol=1e-4)


def test_shares_take_the_place_of_first_and_last():
    with pytest.raises(ValidationError, match=r"got shares=\[0.0, 1.0\] with first=0.5 and last=1.0"):
        Dynamic(shares=[0, 1], first=0.5)


@pytest.mark.parametrize("name", ["none", "pingpong", "clamp", "circular"])
def test_dynamic_refuses_what_a_factor_means_nothing_to(name):
    with pytest.raises(
        ConfigError, match=f"dynamic gives a strategy its factor, and '{name}' does not change with one"
    ):
        REGISTRY.build("positional", {"name": "dynamic", "of": name})


@pytest.mark.parametrize(
    "base",
    [
        Dynamic(first=0),  # no factor at the first step
        Dynamic(shares=[0, 1, 0, 1, 0]),  # nor in the middle, nor at the last
        Riflex(repeats_at=200),  # nothing to lower in videos of fewer than 180 frames
        LongRope(factors=[1, 2]),
        Particular(),
    ],
    ids=lambda base: base.name,
)
def test_dynamic_takes_what_a_factor_means_something_to_at_some_step_or_length(base):
    assert Dynamic(of=base).of == base
