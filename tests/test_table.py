"""The table: cells that can be resumed, clips that are the same for all, results that are read as they were written."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import longtake
from longtake.core.errors import LongtakeError
from longtake.plugins.proving import commands, table
from longtake.plugins.proving.cases import Case, buckets, make
from longtake.plugins.proving.clips import BUCKETS, KINDS
from longtake.plugins.proving.machine import commit
from longtake.plugins.proving.measures import score
from longtake.plugins.proving.methods import FAST, METHODS, PLAIN, SPEEDS
from longtake.plugins.proving.results import COLUMNS, read_results, read_row, write_results
from longtake.plugins.proving.stages import LENGTHS, QUESTIONS, STAGES, asked, choose
from longtake.plugins.proving.table import Cell, run_cells, work_out
from longtake.plugins.proving.techniques import FAST_CHAINS, TECHNIQUES

REGISTRY = longtake.load_plugins(third_party=False).registry


def test_every_method_is_a_valid_config_and_has_a_name_of_its_own():
    everything = (*METHODS, *TECHNIQUES, *FAST, *FAST_CHAINS, *SPEEDS)
    assert len({method.name for method in everything}) == len(everything)
    assert len({Cell(method, 28, 1, 2).file for method in everything}) == len(everything)
    for method in everything:
        if not method.special:
            config = longtake.load_config(method.options, REGISTRY)
            assert None not in (config.positional, config.attention, config.noise, config.motion)


def test_every_strategy_of_the_mission_stands_in_the_table():
    used = {
        (kind, value if isinstance(value, str) else value["name"])
        for method in (*METHODS, *TECHNIQUES, *SPEEDS)
        for kind, value in method.options.items()
        if kind not in ("steps", "seed", "reuse", "weights", "speed")
    }
    # What is as it is when nothing is asked for, what only loops want, and a file, which may hold anything.
    unnamed = {
        ("sigmas", "karras"),
        ("context", "whole"),
        ("context", "looped"),
        ("sampling", "joint"),
        ("noise", "file"),
    }
    known = {(kind, name) for kind, classes in REGISTRY.classes.items() for name in classes}
    assert known - used == unnamed


def test_the_rows_of_a_speed_leave_open_what_it_chooses():
    facts = longtake.read_facts("embedded")
    for speed in ("fast", "draft"):
        method = next(method for method in SPEEDS if method.name == f"speed {speed}")
        asked = longtake.load_config(method.options | {"frames": 28}, REGISTRY)
        assert (asked.sigmas, asked.guidance, asked.reuse) == (None, None, None)
        by_itself = {"frames": 28, "speed": speed, "seed": 0}
        assert longtake.resolve(asked, facts, REGISTRY).model_copy(update={"seed": 0}) == longtake.resolve(
            longtake.load_config(by_itself, REGISTRY), facts, REGISTRY
        )


def test_the_final_stage_is_of_known_methods_on_at_least_64_clips():
    named = [name for names in QUESTIONS.values() for name in names]
    assert [method.name for method in STAGES["final"].methods] == [
        method.name for method in METHODS if method.name in named
    ]
    assert len(set(named)) == len(named) == len(STAGES["final"].methods)
    assert STAGES["final"].seeds * len(KINDS) >= 64
    assert STAGES["screen"].methods == METHODS


def test_a_cell_has_another_file_for_whatever_changes_its_numbers():
    cell = Cell(PLAIN, 28, 4, 25)
    others = [
        replace(cell, frames=56),
        replace(cell, seeds=5),
        replace(cell, steps=10),
        replace(cell, method=METHODS[4]),
        replace(cell, model="another"),
        replace(cell, weights="trained again"),
    ]
    assert len({each.file for each in (cell, *others)}) == 7
    assert cell.file == Cell(PLAIN, 28, 4, 25).file


@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 500), frames=st.integers(5, 112))
@settings(max_examples=40)
def test_the_clips_of_a_table_are_the_same_for_all_and_slow_enough_to_be_compensated(kind, seed, frames):
    clip = Case(kind, seed, frames).clip()
    assert clip == Case(kind, seed, frames).clip()
    assert clip.world == Case(kind, seed, 14).clip().world
    assert clip.fps == 7
    slowest, fastest = buckets(frames)
    assert BUCKETS[0] <= slowest <= clip.motion_bucket <= fastest <= BUCKETS[1]
    assert fastest * max(1, frames / 14) <= 1.25 * BUCKETS[1] * (1 + 1e-9)
    assert frames > 56 or fastest * max(1, frames / 14) <= BUCKETS[1] * (1 + 1e-9)
    fast = Case(kind, seed, frames, fast=True)
    assert fast.number != Case(kind, seed, frames).number
    assert 2 / 3 * BUCKETS[1] <= fast.clip().motion_bucket <= BUCKETS[1]


def test_every_clip_of_a_cell_is_a_draw_of_its_own():
    cases = Cell(PLAIN, 28, 13, 8).cases()
    assert len(cases) == 65
    assert len({case.number for case in cases}) == len({case.clip().motion_bucket for case in cases}) == 65


def test_the_rows_beside_the_methods_are_what_they_say(builtins):
    model, case = longtake.load_model(), Case("comet", 0, 20)
    by_name, clip = {method.name: method for method in METHODS}, case.clip()
    still, truth, chain, windows, plain, held, faded = (
        make(by_name[name], case, 2, model, builtins)
        for name in (
            "first frame held still",
            "truth through the VAE",
            "chained by the last frame",
            "windows, global, stride 4",
            "plain",
            "14 frames, each held",
            "14 frames, faded into each other",
        )
    )
    for each in (still, truth, chain, windows, plain, held, faded):
        assert each.video_FHW3.shape == (20, 32, 32, 3)
    assert score(clip, still.video_FHW3).frozen == 1
    assert np.abs(truth.video_FHW3 - clip.render(20)).mean() < 0.03
    assert score(clip, truth.video_FHW3).error < 1
    assert np.abs(chain.video_FHW3[1:14] - chain.video_FHW3[0]).max() > 0.01
    assert (chain.borders, windows.borders) == ((13,), (4, 6))
    assert still.borders == truth.borders == plain.borders == ()
    repeated = (np.abs(np.diff(held.video_FHW3, axis=0)).max(axis=(1, 2, 3)) == 0).sum()
    assert repeated == 20 - 14
    for first, last in ((0, 0), (-1, -1)):
        assert np.array_equal(held.video_FHW3[first], faded.video_FHW3[last])


def test_a_table_goes_on_from_its_finished_cells(tmp_path):
    cells = [Cell(PLAIN, 5, 1, 1), Cell(METHODS[1], 5, 1, 1)]
    told: list[str] = []
    run_cells(cells[1:], tmp_path, 1, lambda cell: told.append(cell.method.name))
    before = (tmp_path / cells[1].file).read_bytes()
    run_cells(cells, tmp_path, 1, lambda cell: told.append(cell.method.name))
    assert told == ["first frame held still", "first frame held still", "plain"]
    assert (tmp_path / cells[1].file).read_bytes() == before
    row = read_row(tmp_path / cells[0].file)
    assert (row.method, row.frames, row.steps) == ("plain", 5, 1)
    assert (row.kinds, row.seeds) == (list(KINDS), list(range(len(KINDS))))
    assert set(row.columns) == set(COLUMNS)
    assert {kind: len(curve) for kind, curve in row.curves.items()} == dict.fromkeys(KINDS, 5)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".npz"}


def test_videos_are_kept_and_measured_again_by_other_measures(tmp_path, monkeypatch):
    cell = Cell(METHODS[1], 5, 1, 1)
    run_cells([cell], tmp_path, 1, lambda _: None)
    made = read_row(tmp_path / cell.file)
    monkeypatch.setattr(table, "measures_version", lambda: "others")
    assert not (tmp_path / cell.file).exists()
    monkeypatch.setattr(table, "make", None)  # nothing may be made anew
    again = work_out(cell, tmp_path)
    assert again == replace(made, cell=cell.file)


def test_the_command_writes_a_page_and_results_and_names_what_it_does_not_know(tmp_path):
    asked = ["run", "--out", str(tmp_path), "--frames", "5", "--seeds", "1", "--steps", "1"]
    done = CliRunner().invoke(commands.prove, [*asked, "--method", "linear"])
    assert done.exit_code == 0, done.output
    page = (tmp_path / "table.md").read_text()
    assert "## 5 frames" in page
    assert page.count("| linear |") == page.count("| plain |") == 1
    rows, about = read_results(tmp_path / "results.json")
    assert [row.method for row in rows] == ["plain", "linear"]
    assert about["model"] == "embedded"
    assert len(about["weights"]) == 16
    assert len(about["made"]) == 1
    with pytest.raises(LongtakeError, match="unknown method 'lineer'\ndid you mean 'linear'"):
        raise CliRunner().invoke(commands.prove, [*asked, "--method", "lineer"]).exception


def test_a_table_is_made_in_parts_and_goes_on_from_its_results_alone(tmp_path):
    asked = ["run", "--out", str(tmp_path), "--seeds", "1", "--steps", "1"]
    for frames in ("5", "6"):
        done = CliRunner().invoke(commands.prove, [*asked, "--frames", frames, "--method", "plain"])
        assert done.exit_code == 0, done.output
    rows, about = read_results(tmp_path / "results.json")
    assert [row.frames for row in rows] == [5, 6]
    # Numbers that no run would give, so that a cell worked out again would be seen.
    rows[0].columns["speed"][0] = 77.0
    write_results(rows, about, tmp_path / "results.json")
    shutil.rmtree(tmp_path / "cells")
    done = CliRunner().invoke(commands.prove, [*asked, "--frames", "5", "--method", "plain"])
    assert done.exit_code == 0, done.output
    assert read_results(tmp_path / "results.json")[0] == rows
    others = replace(rows[1], cell="measured-otherwise.json")
    write_results([rows[0], others], about, tmp_path / "results.json")
    done = CliRunner().invoke(commands.prove, [*asked, "--frames", "5", "--method", "plain"])
    assert done.exit_code == 0, done.output
    assert read_results(tmp_path / "results.json")[0] == rows[:1]
    write_results(rows, {"weights": "another"}, tmp_path / "results.json")
    with pytest.raises(LongtakeError, match="holds results of other weights than this model's; choose another folder"):
        raise CliRunner().invoke(commands.prove, [*asked, "--frames", "5"]).exception


def test_videos_that_cannot_be_read_are_made_anew(tmp_path):
    cell = Cell(METHODS[1], 5, 1, 1)
    made = work_out(cell, tmp_path)
    kept = tmp_path / f"{cell.name}.npz"
    for broken in (b"", kept.read_bytes()[:-100], b"no archive"):
        kept.write_bytes(broken)
        assert work_out(cell, tmp_path) == made
        assert np.load(kept)["videos"].shape[:2] == (len(KINDS), 5)


def test_a_row_says_which_code_made_it(tmp_path):
    assert work_out(Cell(METHODS[1], 5, 1, 1)).commit == commit()


def test_a_method_takes_the_stage_with_the_most_clips_and_no_stage_that_has_it_not():
    chosen = {(method.name, frames): seeds for method, frames, seeds in asked("all", ["linear"], [])}
    assert chosen == {("plain", frames): 13 for frames in LENGTHS} | {("linear", frames): 13 for frames in LENGTHS}
    assert asked("screen", ["linear"], [28])[1][1:] == (28, 2)
    with pytest.raises(LongtakeError, match="stage 'final' has no method 'ntk'; it is in: screen"):
        asked("final", ["ntk"], [])


def test_no_cell_is_worked_out_twice_though_stages_share_methods(tmp_path, monkeypatch):
    cells = []

    def collected(every, folder, workers, finished):
        cells.extend(every)
        raise LongtakeError("enough")

    monkeypatch.setattr("longtake.plugins.proving.run.run_cells", collected)
    done = CliRunner().invoke(commands.prove, ["run", "--out", str(tmp_path), "--frames", "28", "--seeds", "1"])
    assert "enough" in str(done.exception)
    assert len({cell.file for cell in cells}) == len(cells) > 100


def test_an_unknown_method_is_named_with_what_it_may_mean_first():
    with pytest.raises(LongtakeError) as refused:
        choose(["lineer"])
    lines = str(refused.value).splitlines()
    assert lines[:3] == ["unknown method 'lineer'", "did you mean 'linear'?", "known methods:"]
    assert "  linear + motion" in lines


def test_ctrl_c_keeps_the_finished_cells_and_begins_no_other(tmp_path):
    program = Path(sys.executable).with_name("longtake")
    asked = ["--frames", "14", "--seeds", "1", "--steps", "2", "--stage", "screen", "--workers", "1"]
    process = subprocess.Popen(
        [program, "prove", "run", "--out", str(tmp_path), *asked],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell that runs tests in the background may have told its children to ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    try:
        first = process.stderr.readline()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does it
        _, stderr = process.communicate(timeout=100)
    finally:
        process.kill()
    assert first.startswith("1 of ")
    assert process.returncode == 130
    assert "stopped by Ctrl-C" in stderr
    assert "Traceback" not in stderr
    kept = [path for path in (tmp_path / "cells").iterdir() if not path.name.startswith(".")]
    assert {path.suffix for path in kept} == {".json", ".npz"}
    rows = [path for path in kept if path.suffix == ".json"]
    assert 1 <= len(rows) < 5
    assert all(len(read_row(row).seeds) == len(KINDS) for row in rows)
    assert not (tmp_path / "results.json").exists()


def test_methods_are_chosen_with_their_baseline():
    assert [method.name for method in choose(["yarn", "linear"])] == ["plain", "linear", "yarn"]
    assert LENGTHS == (14, 28, 56, 112)


def test_what_is_no_cell_and_what_are_no_results_is_said(tmp_path):
    (tmp_path / "broken.json").write_text("{")
    for path in (tmp_path / "missing.json", tmp_path / "broken.json"):
        with pytest.raises(LongtakeError, match=f"{path.name} cannot be read: .* run the table again"):
            read_row(path)
        with pytest.raises(LongtakeError, match=f"{path.name} holds no results of a table"):
            read_results(path)


def test_results_are_read_as_they_were_written(row_of, tmp_path):
    frames = 40
    rows = [row_of("plain", frames, 0.5), row_of("fast", frames, 1.0)]
    write_results(rows, {"python": "3"}, tmp_path / "results.json")
    assert read_results(tmp_path / "results.json") == (rows, {"python": "3"})
    np.testing.assert_allclose(rows[1].curves["comet"], range(frames), atol=1.5)
