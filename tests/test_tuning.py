"""Tuning: what is searched, a search that goes on where it stopped, and the command."""

from __future__ import annotations

import csv
import math
import sys

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import longtake
from longtake.core.config import load_config
from longtake.core.defaults import resolve
from longtake.core.errors import ConfigError, LongtakeError
from longtake.core.facts import read_facts
from longtake.plugins.proving import commands
from longtake.plugins.proving.tuning.goals import image_goal, worlds_goal
from longtake.plugins.proving.tuning.space import Dimension, parse, usual_space, value_of, with_values
from longtake.plugins.proving.tuning.study import Goal, search
from longtake.plugins.proving.tuning.view import draw

PLUGINS = longtake.load_plugins(third_party=False)


def whole(**options):
    config = load_config({"image": "example", "frames": 28, "seed": 0} | options, PLUGINS.registry)
    return resolve(config, read_facts("embedded"), PLUGINS.registry)


DATA = whole(positional="yarn", motion_bucket=127).dump()
BUCKET = Dimension("motion_bucket", low=10.0, high=255.0)
STRENGTH = Dimension("motion.strength", low=0.0, high=2.0)
POSITIONAL = Dimension("positional", choices=("linear", "yarn", "none"))
SPACE = [BUCKET, STRENGTH, POSITIONAL]


def toy(better: str = "low") -> Goal:
    """A measure without a generation: best at motion bucket 100, strength 1 and linear positions."""

    def of(data):
        away = abs(data["motion_bucket"] - 100) / 100 + abs(data["motion"]["strength"] - 1)
        return away + (value_of(data, "positional") != "linear")

    return Goal("away", better, of)


class TestSpace:
    @pytest.mark.parametrize(
        ("text", "dimension"),
        [
            ("motion_bucket=20..200", Dimension("motion_bucket", low=20, high=200)),
            ("motion.strength=0.5..1.5", Dimension("motion.strength", low=0.5, high=1.5)),
            ("attention.window=7..14", Dimension("attention.window", low=7, high=14, whole=True)),
            ("motion.strength=0..2", Dimension("motion.strength", low=0, high=2)),
            ("steps=2..4", Dimension("steps", low=2, high=4, whole=True)),
            ("positional.beta_fast=1..4", Dimension("positional.beta_fast", low=1, high=4)),
            ("positional=linear|yarn", Dimension("positional", choices=("linear", "yarn"))),
            ("attention.first=true|false", Dimension("attention.first", choices=(True, False))),
        ],
    )
    def test_dimensions_are_read_as_they_are_written(self, text, dimension):
        config = whole(attention="freenoise", motion="compensated")
        assert parse(text, config) == dimension
        assert parse(str(dimension), config).key == dimension.key

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("motion_bucket", "--search takes KEY=LOW..HIGH or KEY=ONE|OTHER"),
            ("bucket=1..2", "got 'bucket=1..2'"),
            ("motion_bucket.x=1..2", "got 'motion_bucket.x=1..2'"),
            ("motion_bucket=5..5", "the range is empty"),
            ("motion_bucket=a..5", "the ends of this range are finite numbers"),
            ("motion_bucket=[..5", "cannot read the value '['"),
            ("positional=linear", "give two or more values with | between them"),
        ],
    )
    def test_what_is_no_dimension_is_refused(self, text, said):
        with pytest.raises(ConfigError) as caught:
            parse(text, whole())
        assert said in str(caught.value)

    def test_by_default_the_bounded_options_of_what_is_named_are_searched(self):
        dynamic = usual_space(whole(positional="dynamic"), ["positional"], 255)
        assert [dimension.key for dimension in dynamic] == ["positional.first", "positional.last", "motion_bucket"]
        usual = usual_space(whole(), [], 40)
        assert [dimension.key for dimension in usual] == [
            "positional.align",
            "motion.strength",
            "motion.by",
            "motion_bucket",
        ]

    @given(bucket=st.floats(10, 255), strength=st.floats(0, 2), positional=st.sampled_from(POSITIONAL.choices))
    def test_values_stand_in_the_config_and_nothing_else_changes(self, bucket, strength, positional):
        values = {"motion_bucket": bucket, "motion.strength": strength, "positional": positional}
        changed = with_values(DATA, values)
        assert {key: value_of(changed, key) for key in values} == pytest.approx(values)
        assert {key for key in DATA if changed[key] != DATA[key]} <= {"motion_bucket", "motion", "positional"}
        load_config(changed, PLUGINS.registry)


class TestSearch:
    def test_the_first_trial_changes_nothing_and_the_best_is_never_worse(self, tmp_path):
        told = []
        found = search(DATA, SPACE, toy(), 8, tmp_path, told.append)
        assert [trial.number for trial in told] == list(range(8))
        assert told[0].values == {"motion_bucket": 127.0, "motion.strength": 1.0, "positional": "yarn"}
        assert found[0].value == min(trial.value for trial in told) <= told[0].value
        assert sorted(found, key=lambda trial: trial.value) == found
        best = yaml.safe_load((tmp_path / "best.yaml").read_text())
        assert toy().of(best) == pytest.approx(found[0].value)
        load_config(best, PLUGINS.registry)
        with (tmp_path / "trials.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [int(row["trial"]) for row in rows] == [trial.number for trial in found]
        assert list(rows[0]) == ["trial", "away", "motion_bucket", "motion.strength", "positional"]

    def test_a_search_goes_on_where_it_stopped_and_is_the_same_search(self, tmp_path):
        at_once = search(DATA, SPACE, toy(), 12, tmp_path / "at once")
        told = []
        search(DATA, SPACE, toy(), 5, tmp_path / "twice")
        again = search(DATA, SPACE, toy(), 12, tmp_path / "twice", told.append)
        assert [trial.number for trial in told] == list(range(5, 12))
        assert len({trial.values["motion_bucket"] for trial in again}) == 12
        assert [trial.number for trial in again if trial.number < 5] == [
            trial.number for trial in at_once if trial.number < 5
        ]
        assert search(DATA, SPACE, toy(), 12, tmp_path / "twice", told.append) == again
        assert len(told) == 7

    @pytest.mark.parametrize("better", ["low", "high", "1"])
    def test_it_finds_what_is_asked_for(self, tmp_path, better):
        value = search(DATA, SPACE, toy(better), 30, tmp_path)[0].value
        assert {"low": value < 0.5, "high": value > 2.5, "1": abs(value - 1) < 0.1}[better]

    @pytest.mark.parametrize(
        ("data", "space", "goal", "said"),
        [
            (DATA | {"steps": 3}, SPACE, toy(), "another config"),
            (DATA, SPACE[:2], toy(), "another space"),
            (DATA, SPACE, Goal("other", "low", toy().of), "another measure"),
        ],
    )
    def test_a_folder_holds_one_search(self, tmp_path, data, space, goal, said):
        search(DATA, SPACE, toy(), 1, tmp_path)
        with pytest.raises(LongtakeError, match=f"holds a search with {said}"):
            search(data, space, goal, 2, tmp_path)

    def test_what_cannot_be_generated_is_passed_over(self, tmp_path):
        def of(data):
            if data["motion_bucket"] > 100:
                raise ConfigError("too much motion")
            return math.nan if data["motion_bucket"] < 30 else data["motion_bucket"]

        found = search(DATA, [BUCKET], Goal("bucket", "low", of), 12, tmp_path)
        assert 0 < len(found) < 12
        assert all(30 <= trial.value <= 100 for trial in found)

    def test_without_optuna_it_is_said_and_no_folder_is_made(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "optuna", None)
        with pytest.raises(LongtakeError, match="tuning needs Optuna; install it with: pip"):
            search(DATA, SPACE, toy(), 3, tmp_path / "tuned")
        assert not list(tmp_path.iterdir())

    def test_nothing_generated_is_said_with_the_reason(self, tmp_path):
        def of(data):
            raise ConfigError("too much motion")

        with pytest.raises(LongtakeError, match="none of 3 trials gave a video: too much motion"):
            search(DATA, [BUCKET], Goal("bucket", "low", of), 3, tmp_path)
        assert not (tmp_path / "best.yaml").exists()


def test_the_picture_shows_every_dimension(tmp_path):
    found = search(DATA, SPACE, toy(), 4, tmp_path)
    draw(found, SPACE, toy(), tmp_path / "tune.png")
    picture = np.asarray(Image.open(tmp_path / "tune.png").convert("L"))
    # Two rows of three panels, of which four are drawn: those have more than white in their middle.
    height, width = picture.shape[0] // 2, picture.shape[1] // 3
    middles = [
        picture[row + height // 8 : row + 7 * height // 8, column + width // 5 : column + 9 * width // 10]
        for row in (0, height)
        for column in (0, width, 2 * width)
    ]
    assert [bool(middle.min() < 200) for middle in middles] == [True, True, True, True, False, False]


@pytest.mark.parametrize(("make", "count"), [(image_goal, ()), (worlds_goal, (1,))])
def test_an_unknown_measure_is_refused_with_the_known_ones(make, count):
    with pytest.raises(LongtakeError, match="unknown measure 'flikker'; known: .*"):
        make("flikker", *count, None, PLUGINS)


class TestCommand:
    def run(self, *arguments):
        return CliRunner().invoke(commands.tune, [str(each) for each in arguments], obj=PLUGINS)

    def test_on_an_image(self, tmp_path):
        asked = ["example", "--out", tmp_path, "--frames", 5, "--steps", 1, "--search", "motion_bucket=20..60"]
        done = self.run(*asked, "--trials", 2)
        assert done.exit_code == 0, done.output
        assert done.stdout.strip() == str(tmp_path / "best.yaml")
        assert {path.name for path in tmp_path.iterdir()} == {"best.yaml", "tune.png", "trials.csv", "trials.log"}
        assert 20 <= yaml.safe_load((tmp_path / "best.yaml").read_text())["motion_bucket"] <= 60

    def test_on_worlds(self, tmp_path):
        asked = ["--worlds", 1, "--out", tmp_path, "--frames", 16, "--steps", 1, "--search", "motion.strength=0..2"]
        done = self.run(*asked, "--trials", 1, "--measure", "speed")
        assert done.exit_code == 0, done.output
        assert (tmp_path / "trials.csv").read_text().startswith("trial,speed,motion.strength\n0,")

    def test_a_preview_takes_the_place_of_nothing(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        Image.new("RGB", (32, 32)).save("photo.jpg")
        with pytest.raises(LongtakeError, match=r"preview photo.jpg would take the place of the start image"):
            raise self.run("photo.jpg", "--preview", "photo.jpg", "--out", "study").exception
        assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]

    def test_a_trial_that_fails_prints_no_traceback(self, tmp_path, monkeypatch):
        def fail(*_: object) -> None:
            raise LongtakeError("no room")

        monkeypatch.setattr("longtake.plugins.proving.tuning.goals.generate", lambda *_, **__: fail())
        done = self.run("example", "--out", tmp_path, "--frames", 5, "--steps", 1)
        assert isinstance(done.exception, LongtakeError)
        assert "Traceback" not in done.output

    def test_what_is_to_be_tuned_must_be_named(self, tmp_path):
        with pytest.raises(LongtakeError, match="name an image to tune on, or --worlds N"):
            raise self.run("--out", tmp_path).exception
        with pytest.raises(LongtakeError, match="nothing to search: no option of these strategies has bounds"):
            raise self.run("--worlds", 1, "--out", tmp_path, "--positional", "none").exception
