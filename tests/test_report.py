"""What the table says: means, shares and paired differences, with intervals that hold what they should."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longtake.plugins.proving.report import (
    bootstrap,
    difference,
    estimate,
    markdown,
    pick,
    share,
    share_difference,
)


@given(values=st.lists(st.floats(-100, 100), min_size=1, max_size=40))
@settings(max_examples=30)
def test_an_interval_holds_the_mean_and_lies_within_the_values(values):
    found = bootstrap(values)
    assert found.low - 1e-9 <= found.mean <= found.high + 1e-9
    assert min(values) - 1e-9 <= found.low
    assert found.high <= max(values) + 1e-9
    assert found == bootstrap(values)


def test_intervals_hold_the_true_mean_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    held = [bootstrap(rng.normal(3, 1, 64), seed=trial) for trial in range(200)]
    assert 0.88 < np.mean([each.low <= 3 <= each.high for each in held]) <= 1


LENGTH = 40  # long enough for slow clips to have moved by more than the followed place is off


def test_differences_are_paired_and_the_page_shows_them(row_of):
    fast, slow = row_of("fast", LENGTH, 1.0), row_of("plain", LENGTH, 0.5)
    gained = difference(fast, slow, "speed")
    assert gained.mean == pytest.approx(0.5, abs=0.05)
    assert gained.high - gained.low < 0.1
    assert difference(fast, slow, "speed", "zoom").mean == pytest.approx(0.5, abs=0.02)
    page = markdown([slow, fast], ["speed", "seam"])
    assert page.splitlines()[0] == "| method | speed | seam | speed − plain |"
    assert page.splitlines()[3].startswith("| fast | 1.0")
    assert page.splitlines()[3].split(" | ")[2] == "–"


def test_clips_that_both_have_are_compared(row_of):
    fast, slow = row_of("fast", LENGTH, 1.0, seeds=1), row_of("plain", LENGTH, 0.5)
    both = difference(fast, slow, "speed")
    assert both == difference(fast, row_of("plain", LENGTH, 0.5, seeds=1), "speed")
    assert difference(fast, slow, "seam") is None  # there are no windows in either
    assert pick([slow, row_of("plain", LENGTH, 0.5, seeds=1), fast], LENGTH) == {"plain": slow, "fast": fast}


def test_what_means_nothing_for_a_clip_is_left_out_of_the_mean(row_of):
    row = row_of("plain", LENGTH, 0.5)
    assert estimate(row, "seam") is None  # there are no borders
    row.columns["unevenness"][:5] = [None] * 5
    known = row.columns["unevenness"][5:]
    assert estimate(row, "unevenness") == bootstrap(known)
    assert estimate(row_of("still", LENGTH, 0.0), "unevenness") is None


@pytest.mark.parametrize("truth", [0.5, 0.9, 0.97])
@pytest.mark.parametrize("clips", [10, 65])
def test_intervals_of_shares_hold_the_truth_as_often_as_they_promise(truth, clips):
    rng = np.random.default_rng(0)
    drawn = [(rng.random(clips) < truth).astype(float).tolist() for _ in range(2000)]
    held = [found.low <= truth <= found.high for found in map(share, drawn)]
    assert 0.91 <= np.mean(held) <= 1


@pytest.mark.parametrize("truth", [0.0, 0.1, 0.4])
@pytest.mark.parametrize("clips", [10, 65])
def test_intervals_of_paired_differences_do_too(truth, clips):
    """One method is valid where the other is, and somewhere else besides; and by chance the other way round."""
    rng = np.random.default_rng(0)
    held = []
    for _ in range(2000):
        chance = rng.random(clips)
        found = share_difference(((chance < 0.05 + truth) * 1.0 - (chance > 0.95) * 1.0).tolist())
        held.append(found.low <= truth <= found.high)
    assert 0.91 <= np.mean(held) <= 1


@given(values=st.lists(st.booleans(), min_size=1, max_size=99))
def test_an_interval_of_a_share_holds_the_share_and_is_never_empty(values):
    found = share([float(value) for value in values])
    assert 0 <= found.low <= found.mean <= found.high <= 1
    assert found.low < found.high


def test_rows_of_other_clips_are_not_compared(row_of):
    fast = row_of("fast clips", LENGTH, 1.0)
    other = replace(fast, method="plain", seeds=[number + 5000 for number in fast.seeds])
    assert markdown([other, fast], ["speed"]).splitlines()[-1].endswith("| – |")


def test_no_values_have_no_mean():
    with pytest.raises(ValueError, match="no values"):
        bootstrap([])
