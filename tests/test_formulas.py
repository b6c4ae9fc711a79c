"""Formulas of strategies at a few places, worked out by hand, and what options are where they are left out."""

from __future__ import annotations

import math

import pytest
import torch

from longtake import PositionalStrategy, Span, load_plugins
from longtake.core.embedding import trained_frequencies
from longtake.core.windows import SHAPES, fused_weights, window_starts
from longtake.plugins.attention.decay import Decay
from longtake.plugins.attention.freenoise import FreeNoiseWindows
from longtake.plugins.attention.looped import Looped
from longtake.plugins.attention.spectral import Spectral
from longtake.plugins.attention.strided import Strided
from longtake.plugins.context.static import Static
from longtake.plugins.context.uniform import shift_of
from longtake.positional.circular import Circular
from longtake.positional.clamp import Clamp
from longtake.positional.dynamic import Dynamic
from longtake.positional.grouped import Grouped
from longtake.positional.linear import Linear
from longtake.positional.longrope import LongRope
from longtake.positional.ntk import Ntk
from longtake.positional.pingpong import PingPong
from longtake.positional.riflex import Riflex
from longtake.positional.stretched import takes_factor
from longtake.positional.yarn import Yarn
from longtake.schedules.guidance import Triangle
from longtake.schedules.motion import Compensated
from longtake.schedules.noise import FreeNoise, Repeat

REGISTRY = load_plugins(third_party=False).registry


def test_a_triangle_is_made_of_straight_lines():
    scales = {frames: Triangle(min=1, max=3).scales(Span(frames=frames, trained=14)) for frames in (4, 9)}
    assert scales[9].tolist() == [1, 1.5, 2, 2.5, 3, 2.5, 2, 1.5, 1]
    torch.testing.assert_close(scales[4], torch.tensor([1, 7 / 3, 7 / 3, 1]))


@pytest.mark.parametrize("trained", [4, 14, 25])
def test_groups_are_exact_at_every_length(trained):
    """Also at 18 frames of 14, where 9 · 14 / 18 = 7 comes out as 6.999… in float64."""
    for frames in range(trained + 1, 12 * trained):
        places = Grouped().positions(torch.arange(frames).float(), Span(frames=frames, trained=trained))
        assert places.tolist() == [frame * trained // frames for frame in range(frames)]


@pytest.mark.parametrize(
    "strategy",
    [
        *(Circular(), Circular(way="round"), Clamp(), Dynamic(), Dynamic(alpha=3), Grouped(), Linear(align="ends")),
        *(LongRope(factors=[2, 4]), Ntk(), PingPong(), Riflex(width=0.5), Yarn()),
    ],
    ids=str,
)
@pytest.mark.parametrize("frames", [2, 13, 14])
def test_positions_and_frequencies_stay_where_there_is_nothing_to_stretch(strategy, frames):
    places, freqs, span = torch.arange(frames).float(), trained_frequencies(64), Span(frames=frames, trained=14)
    assert torch.equal(strategy.positions(places, span), places)
    assert torch.equal(strategy.frequencies(freqs, span), freqs)
    assert strategy.temperature(span) == 1
    longer = Span(frames=15, trained=14)
    places = torch.arange(15).float()
    moved = not torch.equal(strategy.positions(places, longer), places)
    assert moved or not torch.equal(strategy.frequencies(freqs, longer), freqs)


def test_frequencies_on_a_ring_make_the_nearest_number_of_turns():
    """Over 8 frames: 0.4, 0.6, 1.4 and 1.6 turns become 0, 1, 1 and 2."""
    turn, span = 2 * math.pi / 8, Span(frames=8, trained=4)
    turns = Circular(way="round").frequencies(torch.tensor([1.6, 1.4, 0.6, 0.4]) * turn, span) / turn
    torch.testing.assert_close(turns, torch.tensor([2.0, 1, 1, 0]))


def test_the_way_back_is_half_way_after_a_quarter():
    """12 frames of 7: after 3 half of the way to position 6, after 6 all of it, after 9 half of the way back."""
    places = Circular().positions(torch.arange(12.0), Span(frames=12, trained=7))
    torch.testing.assert_close(places[[0, 3, 6, 9]], torch.tensor([0.0, 3, 6, 3]))
    freqs, span = trained_frequencies(64), Span(frames=12, trained=7)
    assert torch.equal(Circular().frequencies(freqs, span), freqs)  # a way back moves positions, a round frequencies
    assert torch.equal(Circular(way="round").positions(torch.arange(12.0), span), torch.arange(12.0))


BY_HAND = {
    # A window of 6 that shares 2 frames with the one before and 3 with the one after.
    "flat": [1, 1, 1, 1, 1, 1],
    "pyramid": [1, 2, 3, 3, 2, 1],
    "overlap-linear": [1 / 3, 2 / 3, 1, 3 / 4, 2 / 4, 1 / 4],
    "gaussian": [math.exp(-((place - 2.5) ** 2) / 2) for place in range(6)],  # a standard deviation of one frame
    "delayed-sawtooth": [0.01, 0.01, 0.01, 1, 2 / 3, 1 / 3],
}


@pytest.mark.parametrize("kind", sorted(SHAPES))
def test_a_window_that_shares_two_and_three_frames(kind):
    assert SHAPES[kind](6, 2, 3).tolist() == pytest.approx(BY_HAND[kind])


def test_windows_at_the_ends_of_the_video_have_no_ramps_there():
    assert SHAPES["overlap-linear"](4, None, None).tolist() == [1, 1, 1, 1]
    assert SHAPES["overlap-linear"](4, 0, 0).tolist() == [1, 1, 1, 1]
    assert SHAPES["delayed-sawtooth"](5, None, 2).tolist() == pytest.approx([1, 1, 1, 2 / 3, 1 / 3])


def test_the_first_window_joins_nobody():
    """Windows of 4 at 0, 1 and 2: in frame 1 the first one counts 1 and the second, a late joiner, 0.01."""
    weights = fused_weights(6, 4, window_starts(6, 4, 1), "delayed-sawtooth")
    torch.testing.assert_close(weights[:, 1], torch.tensor([1 / 1.01, 0.01 / 1.01, 0]))


def test_ramps_are_as_long_as_what_neighbours_share():
    """Windows of 5 at 0, 3 and 4: 2 shared frames, then 4. Frame 3: 2/3 · 1/3 … of 0 and 3, and of 4 nothing."""
    weights = fused_weights(9, 5, [0, 3, 4], "overlap-linear")
    # Frame 3 is the fourth of window 0 (falling by 2/3) and the first of window 3 (rising by 1/3).
    torch.testing.assert_close(weights[:, 3], torch.tensor([2 / 3, 1 / 3, 0]))
    # Frame 4: the last of window 0 (1/3), the second of window 3 (min(2/3 up, 4/5 down)), the first of window 4 (1/5).
    torch.testing.assert_close(weights[:, 4], torch.tensor([1 / 3, 2 / 3, 1 / 5]) / (1 / 3 + 2 / 3 + 1 / 5))


@pytest.mark.parametrize("kind", [FreeNoiseWindows, Looped, Static])
def test_windows_act_only_where_there_is_something_to_stretch(kind):
    """Not in videos as long as the model was trained on, even where windows are shorter, nor where one holds all."""
    for frames, window, acts in ((10, 5, False), (14, 5, False), (15, 5, True), (18, 20, False), (21, 20, True)):
        windows = kind(window=window).windows(Span(frames=frames, trained=14))
        assert (windows is not None) == acts, (frames, window)


def starts_of(strategy, trained: int) -> tuple[int, list[int]]:
    windows = strategy.windows(Span(frames=4 * trained, trained=trained))
    return windows.size, list(windows.starts)


@pytest.mark.parametrize("trained", [4, 14, 25])
def test_windows_that_are_left_out_are_those_of_the_text(trained):
    """The trained length; a quarter of it between windows of attention, and shared by windows of context."""
    quarter = trained // 4
    for kind in (FreeNoiseWindows, Looped):
        assert starts_of(kind(), trained) == starts_of(kind(window=trained, stride=quarter), trained)
    assert starts_of(Static(), trained) == starts_of(Static(window=trained, overlap=quarter), trained)
    # 8 is a window of its own, of which a quarter is 2.
    assert starts_of(FreeNoiseWindows(window=8), trained)[1][1] == 2
    assert starts_of(Static(window=8), trained)[1][1] == 6
    assert starts_of(FreeNoiseWindows(window=3), trained)[1][1] == 1
    assert starts_of(Static(window=3), trained)[1][1] == 2


@pytest.mark.parametrize(("trained", "radius"), [(14, 7), (25, 12), (1, 1)])
def test_neighbours_that_are_left_out_are_half_the_trained_length(trained, radius):
    span = Span(frames=40, trained=trained, rows=1, columns=2)
    q, k, v = torch.randn(3, 2, 1, 40, 4, generator=torch.Generator().manual_seed(0))
    given, left_out = Spectral(radius=radius), Spectral()
    assert torch.equal(left_out.attend(q, k, v, span, None), given.attend(q, k, v, span, None))
    assert not torch.equal(
        left_out.attend(q, k, v, span, None), Spectral(radius=radius + 1).attend(q, k, v, span, None)
    )


def test_far_keys_begin_beyond_half_the_trained_length():
    """A distance of exactly that much is still near."""
    q, k, v = torch.randn(3, 1, 1, 20, 4, generator=torch.Generator().manual_seed(0))
    for trained, distance in ((13, 6.5), (14, 7.0)):
        span = Span(frames=20, trained=trained)
        assert torch.equal(Decay().attend(q, k, v, span, None), Decay(distance=distance).attend(q, k, v, span, None))
    far = Decay(alpha=0.5, distance=6)._factors(Span(frames=20, trained=14))
    assert far[10].tolist() == [0.5] * 4 + [1.0] * 13 + [0.5] * 3


def test_strided_attention_that_is_left_out_worked_out_by_hand():
    """20 frames of 8: two neighbours on each side, and every 2 · 20 / 8 = 5th frame, from the middle of a stride on."""
    mask = Strided().mask(Span(frames=20, trained=8))
    assert mask[10].nonzero().flatten().tolist() == [0, 2, 7, 8, 9, 10, 11, 12, 17]
    assert Strided(first=False).mask(Span(frames=20, trained=8))[10].nonzero().flatten().tolist()[0] == 2
    short = Strided(first=False).mask(Span(frames=20, trained=3))  # one neighbour, and every 13th from the 6th on
    assert short[10].nonzero().flatten().tolist() == [6, 9, 10, 11, 19]
    assert Strided().mask(Span(frames=8, trained=8)) is None
    assert Strided().mask(Span(frames=9, trained=8)) is not None


def test_noise_that_is_left_out_is_that_of_the_trained_length():
    """A window of the trained length, of which blocks of a quarter are shuffled."""
    for trained in (4, 14, 25):
        span = Span(frames=3 * trained, trained=trained)
        given, left_out = FreeNoise(window=trained, stride=trained // 4), FreeNoise()
        orders = [each.sources(span, torch.Generator().manual_seed(1)).tolist() for each in (given, left_out)]
        assert orders[0] == orders[1]
        assert Repeat().sources(span, torch.Generator()).tolist() == 3 * list(range(trained))
    assert FreeNoise(window=3).sources(Span(frames=9, trained=4), torch.Generator()).tolist() == [0, 1, 2] * 3


PUBLISHED = {
    # min and max guidance of diffusers' pipeline of SVD; rho of its scheduler.
    ("guidance", "linear"): {"min": 1, "max": 3},
    ("guidance", "triangle"): {"min": 1, "max": 3},
    ("sigmas", "karras"): {"rho": 7},
    # YaRN, section 3.4; RIFLEx: the intrinsic frequency makes 0.9 of a period; UltraViCo; PYoCo's alphas.
    ("positional", "yarn"): {"sharpening": 0.1, "beta_slow": 1},
    ("positional", "riflex"): {"share": 0.9, "width": 0.2},
    ("attention", "decay"): {"alpha": 0.9},
    ("noise", "mixed"): {"alpha": 1},
    ("noise", "progressive"): {"alpha": 2, "closed": False},
    # FreeLong; FreeInit: a Butterworth filter of order 4, and the last level of Stable Diffusion.
    ("attention", "spectral"): {"time": 0.25, "space": 0.25},
    ("sampling", "freeinit"): {"iterations": 3, "sigma": 14.6, "filter": "butterworth", "order": 4},
    ("sampling", "chain"): {"carry": "kept", "match": 0},
    ("motion", "compensated"): {"strength": 1, "limit": 255, "by": "bucket", "factor": None},
    ("positional", "dynamic"): {"alpha": 1, "first": 1, "last": 1},
    ("positional", "ntk"): {"strength": 1},
    ("guidance", "trapezoid"): {"min": 1, "max": 3, "rise": 0.25, "fall": 0.25},
}


@pytest.mark.parametrize(("strategy", "options"), PUBLISHED.items(), ids=str)
def test_options_are_by_default_those_of_the_published_methods(strategy, options):
    kind, name = strategy
    built = REGISTRY.build(kind, name)
    assert {option: getattr(built, option) for option in options} == options


@pytest.mark.parametrize("kind", [Linear, Ntk, Yarn, Riflex, Grouped])
def test_a_factor_takes_the_place_of_the_stretch(kind):
    """56 frames by a factor of 2 are placed as those of a video twice as long as in training."""
    span, twice, freqs = Span(frames=56, trained=14), Span(frames=28, trained=14), trained_frequencies(64)
    places = torch.arange(28).float()
    assert torch.equal(kind(factor=2).positions(places, span), kind().positions(places, twice))
    assert torch.equal(kind(factor=2).frequencies(freqs, span), kind().frequencies(freqs, twice))
    assert kind(factor=2).temperature(span) == kind().temperature(twice)
    wrapped = Span(frames=56, trained=14, factor=2.0)  # what a wrapping strategy says comes first
    assert torch.equal(kind(factor=3).positions(places, wrapped), kind().positions(places, twice))


class Midway(PositionalStrategy):
    """Stretches in the middle of the denoising only."""

    name = "midway"

    def positions(self, frames_F, span):
        return frames_F / span.stretch if 0 < span.progress < 1 else frames_F


def test_a_factor_that_acts_in_the_middle_of_the_denoising_is_noticed():
    assert takes_factor(Midway())
    assert not takes_factor(Clamp())


def test_what_dynamic_wraps_does_nothing_where_it_does_not_act():
    places, freqs = torch.arange(56).float(), trained_frequencies(64)
    strategy, wrapped = Dynamic(of=Yarn(start=0.5)), Yarn()
    before, after = (Span(frames=56, trained=14, progress=progress) for progress in (0.4, 0.6))
    assert torch.equal(strategy.positions(places, before), places)
    assert torch.equal(strategy.frequencies(freqs, before), freqs)
    assert strategy.temperature(before) == 1
    assert torch.equal(strategy.frequencies(freqs, after), wrapped.frequencies(freqs, after))
    assert strategy.temperature(after) == wrapped.temperature(after) != 1


def test_ends_that_cannot_be_aligned_are_scaled_plainly():
    """By a factor of 28, 28 frames span one trained frame: aligned, all of them would stand at 0."""
    for factor in (28, 40):
        places = Linear(align="ends", factor=factor).positions(torch.arange(28.0), Span(frames=28, trained=14))
        torch.testing.assert_close(places, torch.arange(28) / factor)


def test_motion_makes_up_for_the_factor_that_is_asked_for():
    span = Span(frames=56, trained=14)
    assert Compensated(factor=3).buckets(20, span).tolist() == [60] * 56
    assert Compensated(factor=3, strength=2).buckets(20, span).tolist() == [180] * 56
    assert Compensated(factor=3, by="fps").rates(12, span).tolist() == [4] * 56
    assert Compensated(limit=70).buckets(20, span).tolist() == [70] * 56
    assert Compensated(limit=10).buckets(20, span).tolist() == [20] * 56


def test_shifts_follow_the_sequence_of_van_der_corput():
    assert [shift_of(step, 8) for step in range(8)] == [0, 4, 2, 6, 1, 5, 3, 7]
    assert [shift_of(step, 5) for step in range(4)] == [0, 2, 1, 3]
