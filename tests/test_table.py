"""The table: cells that can be resumed, clips that are the same for all, intervals that hold what they should."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import longtake
from longtake.core.errors import LongtakeError
from longtake.plugins.proving import commands
from longtake.plugins.proving.clips import KINDS
from longtake.plugins.proving.measures import score
from longtake.plugins.proving.methods import LENGTHS, METHODS, PLAIN, choose
from longtake.plugins.proving.report import bootstrap, difference, markdown
from longtake.plugins.proving.table import (
    FASTEST_BUCKET,
    SLOWEST_BUCKET,
    Cell,
    Outcome,
    generate_case,
    read_cell,
    run_cells,
    table_clip,
)

REGISTRY = longtake.load_plugins(third_party=False).registry


def test_every_method_is_a_valid_config_and_has_a_name_of_its_own():
    assert len({method.name for method in METHODS}) == len(METHODS)
    assert len({Cell(method, 28, 1, 2).file for method in METHODS}) == len(METHODS)
    for method in METHODS:
        if not method.special:
            config = longtake.load_config(method.options, REGISTRY)
            assert None not in (config.positional, config.attention, config.noise, config.motion)


def test_every_strategy_of_the_mission_stands_in_the_table():
    used = {
        (kind, value if isinstance(value, str) else value["name"])
        for method in METHODS
        for kind, value in method.options.items()
    }
    for kind in ("positional", "attention", "noise"):
        assert {name for of, name in used if of == kind} == set(REGISTRY.classes[kind])


def test_a_cell_has_another_file_for_whatever_changes_its_numbers():
    cell = Cell(PLAIN, 28, 4, 25)
    others = [
        replace(cell, frames=56),
        replace(cell, seeds=5),
        replace(cell, steps=10),
        replace(cell, method=METHODS[4]),
    ]
    assert len({each.file for each in (cell, *others)}) == 5
    assert cell.file == Cell(PLAIN, 28, 4, 25).file


@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 500))
@settings(max_examples=30)
def test_the_clips_of_a_table_are_the_same_for_all_and_slow_enough_to_be_compensated(kind, seed):
    clip = table_clip(kind, seed)
    assert clip == table_clip(kind, seed)
    assert SLOWEST_BUCKET <= clip.motion_bucket <= FASTEST_BUCKET
    assert clip.fps == 7


def test_the_rows_beside_the_methods_are_what_they_say(builtins):
    model = longtake.load_model()
    clip = table_clip("comet", 0)
    by_name = {method.name: method for method in METHODS}
    still = generate_case(Cell(by_name["first frame held still"], 20, 1, 2), clip, 0, model, builtins)
    truth = generate_case(Cell(by_name["truth through the VAE"], 20, 1, 2), clip, 0, model, builtins)
    chain = generate_case(Cell(by_name["chained by the last frame"], 20, 1, 2), clip, 0, model, builtins)
    assert still.shape == truth.shape == chain.shape == (20, 32, 32, 3)
    assert score(clip, still).frozen == 1
    assert np.abs(truth - clip.render(20)).mean() < 0.03
    assert score(clip, truth).error < 1
    assert np.abs(chain[1:14] - chain[0]).max() > 0.01


def test_a_table_goes_on_from_its_finished_cells(tmp_path):
    cells = [Cell(PLAIN, 5, 1, 1), Cell(METHODS[1], 5, 1, 1)]
    told: list[str] = []
    run_cells(cells[1:], tmp_path, "embedded", 1, lambda cell: told.append(cell.method.name))
    before = (tmp_path / cells[1].file).read_bytes()
    run_cells(cells, tmp_path, "embedded", 1, lambda cell: told.append(cell.method.name))
    assert told == ["first frame held still", "first frame held still", "plain"]
    assert (tmp_path / cells[1].file).read_bytes() == before
    outcomes = read_cell(cells[0], tmp_path)
    assert [(outcome.kind, outcome.seed) for outcome in outcomes] == [(kind, 0) for kind in KINDS]
    stored = json.loads((tmp_path / cells[0].file).read_text())
    assert stored["cell"] == json.loads(json.dumps(asdict(cells[0])))
    assert {path.suffix for path in tmp_path.iterdir()} == {".json"}


def test_the_command_writes_a_page_and_names_what_it_does_not_know(tmp_path):
    asked = ["run", "--out", str(tmp_path), "--frames", "5", "--seeds", "1", "--steps", "1"]
    done = CliRunner().invoke(commands.prove, [*asked, "--method", "linear"])
    assert done.exit_code == 0, done.output
    page = (tmp_path / "table.md").read_text()
    assert "## 5 frames, 5 clips" in page
    assert page.count("| linear |") == page.count("| plain |") == 1
    with pytest.raises(LongtakeError, match="unknown method 'lineer'; known: .*\ndid you mean 'linear'"):
        raise CliRunner().invoke(commands.prove, [*asked, "--method", "lineer"]).exception


def test_methods_are_chosen_with_their_baseline():
    assert [method.name for method in choose(["yarn", "linear"])] == ["plain", "linear", "yarn"]
    assert LENGTHS == (14, 28, 56, 112)


def test_a_cell_that_is_not_finished_is_said_so(tmp_path):
    with pytest.raises(LongtakeError, match="cannot be read: .* run the table again"):
        read_cell(Cell(PLAIN, 28, 1, 2), tmp_path)


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


def outcomes_of(method_speed: float) -> list[Outcome]:
    cases = [(kind, seed, table_clip(kind, seed)) for kind in KINDS for seed in range(2)]
    return [
        Outcome(kind, seed, score(clip, clip.world.render(method_speed * clip.distances(12))))
        for kind, seed, clip in cases
    ]


def test_differences_are_paired_and_the_page_shows_them():
    fast, slow = outcomes_of(1.0), outcomes_of(0.5)
    gained = difference(fast, slow, "speed")
    assert gained.mean == pytest.approx(0.5, abs=0.05)
    assert gained.high - gained.low < 0.1
    assert difference(fast, slow, "speed", "zoom").mean == pytest.approx(0.5, abs=0.02)
    page = markdown({"plain": slow, "fast": fast}, ["speed", "valid"])
    assert page.splitlines()[0] == "| method | speed | valid | speed − plain |"
    assert page.splitlines()[3].startswith("| fast | 1.0")
    with pytest.raises(ValueError, match="the same clips, got 10 and 4"):
        difference(fast, slow[:4], "speed")


def test_no_values_have_no_mean():
    with pytest.raises(ValueError, match="no values"):
        bootstrap([])
