"""The command line as people run it: as a process, with what it prints, where, its exit code, and what it leaves."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from program import run_cold

from longtake import Config

SMALL = ("--steps", "2", "--width", "32", "--height", "32", "--seed", "3")


def test_generate_prints_where_the_video_lies_and_says_the_rest_on_stderr(cli, folder):
    done = cli("generate", "start.png", "-o", "out.mp4", "--model", "{tiny}", *SMALL, "--frames", "6")
    assert done.stdout == "out.mp4\n"
    for said in (
        "6 frames (1.5 x the 4 that",
        "32x32, 2 steps, motion bucket 127, seed 3",
        "how to make it again: out.mp4.json",
    ):
        assert said in done.stderr
    assert (folder / "out.mp4").read_bytes()[4:8] == b"ftyp"
    assert {path.name for path in folder.iterdir() if "out" in path.name} == {"out.mp4", "out.mp4.json"}


def test_the_installed_program_does_what_the_warm_one_of_these_tests_does(cli, folder, tiny_folder):
    asked = ("--model", str(tiny_folder), *SMALL, "--frames", "6")
    warm = cli("generate", "start.png", "-o", "warm.npy", *asked)
    cold = run_cold(folder, "generate", "start.png", "-o", "cold.npy", *asked)
    assert (cold.returncode, cold.stdout) == (0, "cold.npy\n")
    times = re.compile(r"[\d.:]+( s|(?= left)|$)", flags=re.MULTILINE)
    assert times.sub("", cold.stderr.replace("cold", "warm")) == times.sub("", warm.stderr)
    assert (folder / "cold.npy").read_bytes() == (folder / "warm.npy").read_bytes()
    refused = run_cold(folder, "generate", "none.png", "-o", "x.mp4", *asked)
    same = cli("generate", "none.png", "-o", "x.mp4", *asked, code=2)
    assert (refused.returncode, refused.stdout, refused.stderr) == (2, same.stdout, same.stderr)


@pytest.mark.parametrize("ending", ["gif", "webm", "webp"])
def test_generate_writes_the_format_that_the_ending_says(cli, folder, ending):
    output = f"out.{ending}"
    done = cli("generate", "start.png", "-o", output, "--model", "{tiny}", *SMALL, "-q")
    assert (done.stdout, done.stderr) == (f"{output}\n", "")
    magic = {"gif": b"GIF89a", "webm": b"\x1a\x45\xdf\xa3", "webp": b"RIFF"}[ending]
    assert (folder / output).read_bytes().startswith(magic)


def test_the_command_in_the_record_makes_the_same_frames_in_another_folder(cli, folder, tmp_path_factory):
    asked = ("--model", "{tiny}", *SMALL, "--frames", "9", "--positional", "yarn", "--set", "positional.beta_fast=2")
    cli("generate", "start.png", "-o", "out.npy", *asked, "--attention", "freenoise", "--noise", "freenoise", "-q")
    first = np.load(folder / "out.npy")
    record = json.loads((folder / "out.npy.json").read_text())
    (folder / "out.npy").unlink()
    program, *words = shlex.split(record["command"])
    assert program == "longtake"
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    cli(*words, cwd=elsewhere)
    assert list(elsewhere.iterdir()) == []
    again = np.load(folder / "out.npy")
    assert again.shape == (9, 32, 32, 3)
    assert np.array_equal(again, first)


def test_a_record_is_a_config_file_and_frames_can_be_a_folder(cli, folder):
    cli("generate", "start.png", "-o", "out.npy", "--model", "{tiny}", *SMALL, "-q")
    cli("generate", "-c", "out.npy.json", "-o", "frames", "-q")
    pngs = [np.asarray(Image.open(file)) for file in sorted((folder / "frames").iterdir())]
    assert np.array_equal(np.stack(pngs), np.load(folder / "out.npy"))
    refused = cli("generate", "-c", "out.npy.json", "-o", "frames", code=2)
    assert "frames exists; say --overwrite" in refused.stderr


def test_a_printed_config_is_a_config_file_that_means_the_same(cli, folder):
    asked = ("--model", "{tiny}", *SMALL, "--frames", "12", "--positional", "dynamic", "--attention", "freenoise")
    printed = cli("config", "start.png", *asked).stdout
    (folder / "all.yaml").write_text(printed)
    as_json = json.loads(cli("config", "start.png", *asked, "--json").stdout)
    assert yaml.safe_load(printed) == as_json
    assert as_json["seed"] == 3
    assert set(as_json) == set(Config.model_fields)
    chosen = {key for key, value in as_json.items() if value is not None}
    assert set(as_json) - chosen == {
        *("memory", "decode_overlap", "preview", "trained", "variant", "weights"),
        *("continues", "end_image", "end_frames"),
    }
    assert json.loads(cli("config", "-c", "all.yaml", "--json").stdout) == as_json


@pytest.mark.parametrize("ending", ["yaml", "toml", "json"])
def test_the_command_line_wins_over_a_config_file(cli, folder, ending):
    texts = {
        "yaml": "frames: 6\nsteps: 5\npositional: {name: yarn, beta_fast: 3}\n",
        "toml": 'frames = 6\nsteps = 5\n[positional]\nname = "yarn"\nbeta_fast = 3\n',
        "json": '{"frames": 6, "steps": 5, "positional": {"name": "yarn", "beta_fast": 3}}',
    }
    (folder / f"asked.{ending}").write_text(texts[ending])
    words = ("--frames", "8", "--set", "positional.sharpening=0.2", "--model", "{tiny}", "--json")
    config = json.loads(cli("config", "-c", f"asked.{ending}", *words).stdout)
    assert (config["frames"], config["steps"]) == (8, 5)
    assert (config["positional"]["beta_fast"], config["positional"]["sharpening"]) == (3, 0.2)


def test_set_reaches_the_option_of_a_strategy(cli):
    words = ("config", "--model", "{tiny}", "--frames", "8", "--positional", "yarn", "--set", "positional.beta_fast=2")
    config = json.loads(cli(*words, "--json").stdout)
    assert config["positional"]["beta_fast"] == 2


def test_strategies_lists_kind_name_plugin_and_options(cli):
    rows = json.loads(cli("strategies", "--json", "--no-plugins").stdout)
    assert {"kind", "name", "plugin", "options"} <= set.intersection(*(set(row) for row in rows))
    assert {row["plugin"] for row in rows} == {"builtin"}
    assert len({(row["kind"], row["name"]) for row in rows}) == len(rows)
    yarn = next(row for row in rows if row["name"] == "yarn")
    assert [option["name"] for option in yarn["options"]][-2:] == ["start", "stop"]
    table = cli("strategies", "--kind", "positional").stdout
    positional = [row["name"] for row in rows if row["kind"] == "positional"]
    assert all(name in table for name in positional)
    assert "freenoise" not in table
    assert table.count("Acts from this fraction of the denoising steps on.") == 1  # what all share is said once
    alone = cli("strategies", "--kind", "sampling").stdout
    assert "all of them" not in alone  # these share nothing


def test_plugins_lists_built_in_ones_with_their_hooks(cli):
    rows = {row["name"]: row for row in json.loads(cli("plugins", "--json", "--no-plugins").stdout)}
    assert rows["builtin"]["hooks"] == ["longtake_register_strategies"]
    assert "positional.linear" in rows["builtin"]["strategies"]
    assert all(row["error"] is None and row["version"] == "built in" for row in rows.values())


def references(schema: Any) -> Iterable[str]:
    """Yield every ``$ref`` in a schema."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield schema["$ref"]
        for value in schema.values():
            yield from references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from references(value)


def test_the_schema_is_whole_and_knows_every_key_and_strategy(cli):
    schema = json.loads(cli("schema", "--no-plugins").stdout)
    assert schema == json.loads(cli("schema", "--json", "--no-plugins").stdout)
    assert set(schema["properties"]) == set(Config.model_fields)
    assert schema["additionalProperties"] is False
    assert {reference.removeprefix("#/$defs/") for reference in references(schema)} == set(schema["$defs"])
    names = next(each["enum"] for each in schema["properties"]["positional"]["anyOf"] if "enum" in each)
    assert {"none", "linear", "ntk", "yarn", "dynamic"} <= set(names)
    linear = schema["$defs"]["positional.linear"]
    assert linear["required"] == ["name"]
    assert linear["properties"]["align"]["enum"] == ["step", "ends"]


def test_a_plan_is_shown_drawn_and_given_as_data(cli, folder):
    asked = ("plan", "--model", "{tiny}", "--frames", "12", "--attention", "freenoise", "--steps", "3", "--seed", "0")
    table = cli(*asked).stdout
    assert "12 frames, 3 x the 4 trained ones; 3 steps; shown as of step 1" in table
    assert re.search(r"time for denoising on cpu: roughly \S+ s, \S+ s( to \S+ s)? a step", table)
    both = cli(*asked, "-o", "plan.png", "--json", "--step", "2")
    data = json.loads(both.stdout)
    assert len(data["seconds"]) == 3
    assert len(data["positions"]) == 12
    assert len(data["sigmas"]) == 4
    assert data["shown_step"] == 2
    assert data["windows"]["starts"][-1] + data["windows"]["size"] == 12
    with Image.open(folder / "plan.png") as drawn:
        assert drawn.width > 500
        assert len(np.unique(drawn.convert("L"))) > 10
    assert cli(*asked, "-o", "plan.png").stdout == "plan.png\n"


def test_what_longtake_has_to_say_never_gets_into_json(cli):
    done = cli("config", "--model", "{tiny}", "--width", "33", "--height", "32", "--json")
    assert json.loads(done.stdout)["width"] == 32
    assert done.stderr == "note: size 33x32 rounded to 32x32: the model needs multiples of 4\n"


def test_help_and_version_are_not_mistakes(cli):
    pyproject = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    assert pyproject["project"]["version"] in cli("--version").stdout
    help_text = cli("generate", "--help").stdout
    assert all("--" + name.replace("_", "-") in help_text for name in Config.model_fields if name != "image")
