"""What the commands of the proving ground say when they cannot do what is asked: a sentence, and nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from click.testing import CliRunner

import longtake
from longtake.core.errors import LongtakeError
from longtake.plugins.proving import commands
from longtake.plugins.proving.recipe import Recipe

PLUGINS = longtake.load_plugins(third_party=False)
QUICK = ["--frames", "5", "--seeds", "1", "--steps", "1", "--method", "plain"]


def said(command, *words: object) -> str:
    """Return what is said of a command line that is refused."""
    done = CliRunner().invoke(command, [str(word) for word in words], obj=PLUGINS)
    assert done.exit_code != 0
    if isinstance(done.exception, SystemExit):  # by the command line itself
        assert done.exit_code == 2
        return done.output
    assert isinstance(done.exception, LongtakeError), done.exception
    return str(done.exception)


@pytest.mark.parametrize("frames", ["4", "1", "0", "-3"])
def test_a_table_of_too_few_frames(tmp_path, frames):
    assert "x>=5" in said(commands.prove, "run", "--out", tmp_path, "--frames", frames)


@pytest.mark.parametrize("text", ["{}", "[]", '{"rows": [], "about": []}', '{"rows": [{}], "about": {}}', "none"])
def test_results_that_are_none(tmp_path, text):
    (tmp_path / "results.json").write_text(text)
    words = said(commands.prove, "run", "--out", tmp_path, *QUICK)
    assert "results of" in words
    assert (tmp_path / "results.json").read_text() == text


def test_a_file_where_a_folder_should_be(tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    asked = {
        "run": ["run", "--out", file, *QUICK],
        "train": ["train", "--work", file, "--out", tmp_path / "model"],
    }
    for words in asked.values():
        assert f"cannot make folder {file}" in said(commands.prove, *words)
    assert f"cannot make folder {file}" in said(
        commands.tune, "example", "--out", file, "--frames", 5, "--steps", 1, "--positional", "yarn"
    )
    assert file.read_text() == "mine"


@pytest.mark.parametrize("name", ["sheet.what", "sheet"])
def test_a_picture_of_no_kind_is_refused_before_anything_is_made(tmp_path, name, monkeypatch):
    monkeypatch.setattr("longtake.plugins.proving.figures.draw_sheet", None)
    assert "must end in one of" in said(commands.prove, "sheet", "-o", tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("recipe.json", "{", "is no recipe of a training"),
        ("recipe.json", "[]", "is no recipe of a training"),
        ("recipe.json", '{"seed": 0}', "is missing"),
        ("vae.pt", "no checkpoint", "remove it and this stage begins anew"),
    ],
)
def test_a_training_whose_files_are_broken(tmp_path, file, text, message):
    work = tmp_path / "work"
    work.mkdir()
    (work / file).write_text(text)
    words = said(commands.prove, "train", "--work", work, "--out", tmp_path / "model", "--clips", 1)
    assert file in words
    assert message in words


def test_a_device_that_is_not_there_claims_no_folder(tmp_path):
    work = tmp_path / "work"
    words = said(commands.prove, "train", "--work", work, "--out", tmp_path / "model", "--device", "nope")
    assert "device 'nope' is not available here" in words
    assert not work.exists()


def test_a_recipe_is_written_whole(tmp_path):
    Recipe().claim(tmp_path)
    assert json.loads((tmp_path / "recipe.json").read_text())["seed"] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.json"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--worlds", 1, "example"], "not both"),
        (["--worlds", 1, "--search", "motion_bucket=10..40"], "changes nothing on worlds"),
        (["example", "--search", "motion.strenght=0..2"], "did you mean 'strength'"),
        (["example", "--search", "motion.strength=5..6"], "motion.strength"),
    ],
)
def test_a_search_that_cannot_be_is_told_before_it_begins(tmp_path, words, message):
    found = said(commands.tune, *words, "--out", tmp_path / "tuned", "--frames", 20, "--steps", 1)
    assert message in found
    assert not (tmp_path / "tuned").exists()


def test_a_log_that_is_none_of_a_search(tmp_path):
    (tmp_path / "trials.log").write_text("no log\n")
    asked = ["example", "--out", tmp_path, "--frames", 20, "--steps", 1, "--search", "motion.strength=0..2"]
    assert "trials.log is no log of a search" in said(commands.tune, *asked)


def test_videos_too_small_to_be_measured_and_numbers_that_json_has_not(tmp_path):
    np.save(tmp_path / "flat.npy", np.zeros((5, 0, 9, 3), np.uint8))
    assert "must have at least 8 rows and columns, got (0, 9)" in said(commands.measure, tmp_path / "flat.npy")
    cut = np.zeros((6, 16, 16, 3), np.uint8)
    cut[3:] = 200
    np.save(tmp_path / "cut.npy", cut)
    done = CliRunner().invoke(commands.measure, [str(tmp_path / "cut.npy"), "--json"], obj=PLUGINS)
    assert done.exit_code == 0
    assert "Infinity" not in done.output
    assert json.loads(done.output)


def test_workers_end_with_the_main_process(tmp_path):
    program = Path(sys.executable).with_name("longtake")
    asked = [
        "prove",
        "run",
        "--out",
        tmp_path,
        "--frames",
        "112",
        "--seeds",
        "9",
        "--method",
        "linear",
        "--workers",
        "1",
    ]
    process = subprocess.Popen([program, *asked], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        workers: list[psutil.Process] = []
        while not workers:
            assert process.poll() is None
            time.sleep(0.2)
            workers = [each for each in psutil.Process(process.pid).children() if "spawn_main" in str(each.cmdline())]
        time.sleep(2)  # for a worker to have begun
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert alive == []
