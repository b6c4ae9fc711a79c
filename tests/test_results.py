"""The committed table: it comes out again, and the defaults follow from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from longtake.core.defaults import LONG
from longtake.plugins.proving.clips import KINDS
from longtake.plugins.proving.page import MANY, Page
from longtake.plugins.proving.run import fingerprint
from longtake.plugins.proving.stages import QUESTIONS, STAGES, choose
from longtake.plugins.proving.table import Cell, work_out

PAGE = Page(Path(__file__).parents[1] / "docs" / "proving" / "results.json")
DEFAULT = "linear + motion"
LONGER = (28, 56)  # the lengths that the page speaks of


def test_the_results_are_those_of_the_model_that_ships():
    assert PAGE.about["weights"] == fingerprint("embedded")


@pytest.mark.parametrize("stage", ["final", "fast"])
@pytest.mark.parametrize("frames", LONGER)
def test_no_cell_that_conclusions_rest_on_is_missing(stage, frames):
    for method in STAGES[stage].methods:
        row = PAGE.row(method.name, frames)
        assert len(row.seeds) >= MANY
        assert set(row.kinds) == set(KINDS)


@pytest.mark.parametrize("method", ["plain", "linear + motion", "linear + motion, fast clips"])
def test_a_cell_comes_out_again(method):
    """Another machine adds its numbers up in another order, so not to the last digit."""
    again = work_out(Cell(choose([method])[-1], 28, seeds=1, steps=8))
    row = PAGE.row(method, 28)
    for column in ("error", "speed", "identity", "retreat"):
        held = dict(zip(zip(row.kinds, row.seeds, strict=True), row.columns[column], strict=True))
        for kind, number, value in zip(again.kinds, again.seeds, again.columns[column], strict=True):
            assert value == pytest.approx(held[kind, number], abs=0.03), (column, kind)


def test_the_default_is_a_method_of_the_table_but_for_guidance():
    options = choose([DEFAULT])[-1].options
    assert {kind: value for kind, value in options.items() if kind != "guidance"} == {
        kind: LONG[kind] for kind in options if kind != "guidance"
    }


@pytest.mark.parametrize("frames", LONGER)
def test_no_method_has_more_valid_videos_than_the_default(frames):
    """More beyond doubt, that is: the interval of the paired difference leaves out 0."""
    others = [name for names in QUESTIONS.values() for name in names if name not in (DEFAULT, "truth through the VAE")]
    better = [name for name in others if PAGE.gain(name, DEFAULT, frames, "valid").low > 0]
    assert better == []


@pytest.mark.parametrize("frames", LONGER)
@pytest.mark.parametrize("other", ["plain", "linear", "plain + motion", "FreeNoise as published"])
def test_the_default_has_more_valid_videos_than_its_halves_and_what_others_publish(frames, other):
    assert PAGE.gain(DEFAULT, other, frames, "valid").low > 0
