"""The page of the proving ground: tables and pictures from results."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import longtake
from longtake.plugins.proving import commands
from longtake.plugins.proving.clips import KINDS
from longtake.plugins.proving.figures import draw_curves, draw_shares, draw_worlds
from longtake.plugins.proving.methods import FAMILIES
from longtake.plugins.proving.page import Page, measures
from longtake.plugins.proving.report import estimate
from longtake.plugins.proving.results import COLUMNS, write_results


@pytest.fixture(scope="module")
def rows(row_of):
    speeds = {"plain": 0.3, "linear": 0.5, "linear + motion": 1.0}
    return [row_of(method, frames, speed) for method, speed in speeds.items() for frames in (14, 28)]


@pytest.fixture
def page(rows, tmp_path):
    write_results(rows, {"commit": "abc"}, tmp_path / "results.json")
    return Page(tmp_path / "results.json")


def test_tables_say_what_the_results_say(page, rows):
    assert page.about == {"commit": "abc"}
    lengths = page.lengths(["plain", "linear"], "speed", [14, 28]).splitlines()
    assert lengths[0] == "| speed | 14 frames | 28 frames |"
    few = " (10 clips)"
    assert lengths[2].startswith(f"| plain | {estimate(rows[0], 'speed')}{few} | {estimate(rows[1], 'speed')}{few} |")
    worlds = page.worlds(["linear"], 28, "background").splitlines()
    assert worlds[0] == "| background | pan | zoom | orbit | comet | two |"
    assert worlds[2].startswith("| linear | 0.0")
    assert page.gain("linear + motion", "linear", 28, "speed").mean == pytest.approx(0.5, abs=0.03)
    gains = page.gains([("linear + motion", "plain"), ("linear", "linear")], "speed", [14, 28]).splitlines()
    assert gains[0] == "| difference in speed | 14 frames | 28 frames |"
    assert gains[2].startswith("| linear + motion − plain | **0.")
    assert gains[3] == "| linear − linear | 0.00 [0.00, 0.00] | 0.00 [0.00, 0.00] |"
    assert page.lengths(["linear"], "valid", [28]).endswith("| linear | 0.00 [0.00, 0.28] (10 clips) |")
    assert page.best(28) == ""  # of so few clips none is called best
    table = page.table(["plain", "linear"], 14, ["valid"], "plain").splitlines()
    assert table[0] == "| method | valid | valid − plain |"
    with pytest.raises(KeyError, match="yarn"):
        page.row("yarn", 28)


def test_the_best_are_those_of_many_clips_by_error_where_as_many_are_valid(row_of, tmp_path):
    speeds = {"plain": 0.3, "linear": 0.95, "linear + motion": 1.0, "truth through the VAE": 1.0}
    rows = [row_of(method, 14, speed, seeds=13) for method, speed in speeds.items()]
    write_results([*rows, row_of("yarn", 14, 1.0)], {}, tmp_path / "results.json")
    best = Page(tmp_path / "results.json").best(14).splitlines()
    assert [line.split(":")[0] for line in best] == ["- linear + motion", "- linear", "- plain"]
    assert best[0].startswith("- linear + motion: valid 1.00 [0.94, 1.00], error ")


def test_the_row_with_more_clips_counts(rows, row_of, tmp_path):
    many = replace(row_of("plain", 14, 0.3, seeds=1), steps=9)
    write_results([*rows, many], {}, tmp_path / "results.json")
    assert Page(tmp_path / "results.json").row("plain", 14) == rows[0]


def test_every_measure_has_a_unit_a_direction_and_a_meaning():
    lines = measures().splitlines()[2:]
    assert len(lines) == len(COLUMNS)
    for line, column in zip(lines, COLUMNS.values(), strict=True):
        assert column.better in ("high", "low", "1")
        assert all(part.strip() for part in line.strip("|").split("|"))


def test_pictures_show_every_method_and_world(rows, tmp_path):
    draw_curves(rows, tmp_path / "curves.png")
    draw_shares(rows, tmp_path / "shares.png", FAMILIES)
    draw_worlds(tmp_path / "worlds.png")
    curves = np.asarray(Image.open(tmp_path / "curves.png").convert("RGB")).reshape(-1, 3)
    for colour in ((31, 119, 180), (255, 127, 14), (44, 160, 44)):  # one for each method
        assert (curves == colour).all(axis=1).sum() > 50
    shares = np.asarray(Image.open(tmp_path / "shares.png").convert("RGB")).reshape(-1, 3)
    assert (shares == (31, 119, 180)).all(axis=1).sum() > 50
    worlds = np.asarray(Image.open(tmp_path / "worlds.png").convert("RGB")).astype(float)
    assert worlds.shape[1] > 2 * worlds.shape[0] > 400


def test_the_command_draws_a_sheet(tmp_path):
    plugins = longtake.load_plugins(third_party=False)
    asked = ["sheet", "-o", str(tmp_path / "sheet.png"), "--frames", "5", "--steps", "1"]
    done = CliRunner().invoke(commands.prove, asked, obj=plugins)
    assert done.exit_code == 0, done.output
    sheet = Image.open(tmp_path / "sheet.png")
    assert sheet.height > len(KINDS) * 3 * 60  # truth, plain and linear + motion for each world
