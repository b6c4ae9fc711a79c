"""Plugins of others, installed as packages into an environment of their own: good ones, and all sorts of bad."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from program import Answer, WarmProgram

from longtake.core.hookspecs import hookimpl
from longtake.core.manager import add_plugin, offer_commands

PACKAGES = Path(__file__).parent / "packages"
REASONS = {
    "longtake-broken": "ImportError: no module named 'riflex'",
    "longtake-quits": "SystemExit: I quit",
    "longtake-clash": "PluginError: positional strategy 'linear' is already registered by plugin 'builtin'",
    "longtake-old-method": "PluginError: Still.positions takes (self, frames_F), "
    "but the positional contract calls it with (self, frames_F, span)",
}

Longtake = Callable[..., Answer]


@pytest.fixture(scope="session")
def environment(
    tmp_path_factory: pytest.TempPathFactory, make_environment: Callable[..., Path]
) -> Iterator[WarmProgram]:
    """The program of an environment that holds what the running one holds, and the packages."""
    folder = tmp_path_factory.mktemp("third_party")
    sources = shutil.copytree(PACKAGES, folder / "packages", ignore=shutil.ignore_patterns("__pycache__"))
    program = WarmProgram(make_environment(sorted(sources.iterdir())))
    yield program
    program.close()


@pytest.fixture
def longtake(environment: WarmProgram, tmp_path: Path, picture) -> Longtake:
    """Runs the command line of that environment in a folder that holds ``start.png``."""
    picture.save(tmp_path / "start.png")

    def run(*arguments: str, check: bool = True, **variables: str) -> Answer:
        done = environment.run(tmp_path, *arguments, **{"COLUMNS": "120"} | variables)
        assert "Traceback" not in done.stderr
        assert not check or done.returncode == 0, done.stderr
        return done

    return run


def by_name(listing: str) -> dict[str, dict[str, Any]]:
    """Turn the JSON of ``plugins`` into name → object."""
    return {row["name"]: row for row in json.loads(listing)}


def test_plugins_names_versions_hooks_and_reasons(longtake):
    rows = by_name(longtake("plugins", "--json").stdout)
    assert rows["longtake-good"] == {
        "name": "longtake-good",
        "version": "longtake-good 1.2.3",
        "hooks": ["longtake_after_step", "longtake_register_strategies"],
        "strategies": ["positional.ease", "attention.banded"],
        "error": None,
    }
    assert rows["longtake-fewer"]["version"] == "longtake-fewer 0.1"
    assert rows["longtake-fewer"]["hooks"] == ["longtake_frames_decoded", "longtake_run_started"]
    assert rows["builtin"]["version"] == "built in"
    for name, reason in REASONS.items():
        assert rows[name] == {"name": name, "version": None, "hooks": [], "strategies": [], "error": reason}


def test_the_table_of_plugins_says_the_same_to_people(longtake):
    table = longtake("plugins", COLUMNS="300").stdout
    assert "longtake-good 1.2.3" in table
    for name, reason in REASONS.items():
        line = next(line for line in table.splitlines() if name in line)
        assert f"did not load: {reason}" in line


def test_strategies_of_a_good_plugin_are_listed_and_nothing_of_a_bad_one_is(longtake):
    rows = json.loads(longtake("strategies", "--json").stdout)
    owners = {(row["kind"], row["name"]): row["plugin"] for row in rows}
    assert owners["positional", "ease"] == "longtake-good"
    assert owners["attention", "banded"] == "longtake-good"
    assert owners["positional", "linear"] == "builtin"
    assert ("positional", "fresh") not in owners
    assert ("positional", "still") not in owners
    options = next(row["options"] for row in rows if row["name"] == "banded")
    assert [(option["name"], option["default"]) for option in options[:2]] == [("radius", 2), ("anchors", 1)]


def test_a_run_with_strategies_of_a_plugin_calls_its_hook_and_can_be_made_again(longtake, tmp_path, tiny_folder):
    strategies = ["--positional", "ease", "--attention", "banded", "--set", "attention.radius=3"]
    size = ["--frames", "9", "--steps", "2", "--width", "32", "--height", "32", "--seed", "5"]
    model = ["--model", str(tiny_folder)]
    made = longtake(
        "generate", "start.png", "-o", "out.npy", *model, *size, *strategies,
        LONGTAKE_GOOD_LOG="good.txt", LONGTAKE_FEWER_LOG="fewer.txt",
    )  # fmt: skip
    assert made.stdout == "out.npy\n"
    first = np.load(tmp_path / "out.npy")
    assert first.shape == (9, 32, 32, 3)
    assert (tmp_path / "good.txt").read_text() == "step 1 of 2, 9 frames\nstep 2 of 2, 9 frames\n"
    assert (tmp_path / "fewer.txt").read_text() == "started\ndecoded from frame 0\n"

    record = json.loads((tmp_path / "out.npy.json").read_text())
    assert record["plugins"]["longtake-good"] == "longtake-good 1.2.3"
    assert record["config"]["positional"]["name"] == "ease"
    own = {"name": "banded", "start": 0, "stop": 1, "radius": 3, "anchors": 1}
    factors = dict.fromkeys(("key_scale", "query_scale", "value_scale", "temperature"), 1)
    assert record["config"]["attention"] == own | factors

    program, *words = shlex.split(record["command"])
    assert program == "longtake"
    (tmp_path / "out.npy").unlink()
    longtake(*words)
    assert np.array_equal(np.load(tmp_path / "out.npy"), first)

    longtake("generate", "start.png", "-o", "plain.npy", *model, *size)
    assert not np.array_equal(np.load(tmp_path / "plain.npy"), first)


def test_a_plan_shows_what_the_strategies_of_a_plugin_do(longtake, tiny_folder):
    asked = ["--model", str(tiny_folder), "--frames", "9", "--positional", "ease", "--attention", "banded"]
    plan = json.loads(longtake("plan", *asked, "--json").stdout)
    # 3 / 2 · (1 - cos(π t / 8)): slow, fast, slow, from 0 to the last trained position.
    assert plan["positions"] == pytest.approx([0, 0.114, 0.439, 0.926, 1.5, 2.074, 2.561, 2.886, 3], abs=1e-3)
    assert plan["mask"][8] == [True, False, False, False, False, False, True, True, True]


def test_an_unknown_strategy_may_be_that_of_a_plugin_which_did_not_load(longtake, tiny_folder, tmp_path):
    before = sorted(tmp_path.iterdir())
    asked = ["--model", str(tiny_folder), "--positional", "still", "-o", "out.mp4"]
    refused = longtake("generate", "start.png", *asked, check=False)
    assert refused.returncode == 2
    assert "unknown positional strategy 'still'; known: " in refused.stderr
    assert "ease" in refused.stderr
    for name, reason in REASONS.items():
        assert f"note: plugin '{name}' did not load ({reason}); it may define 'still'" in refused.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_linear_is_still_the_built_in_one(longtake, tiny_folder):
    asked = ["--model", str(tiny_folder), "--frames", "8", "--positional", "linear"]
    plan = json.loads(longtake("plan", *asked, "--json").stdout)
    assert plan["positions"] == [frame / 2 for frame in range(8)]


def test_no_plugins_leaves_all_of_them_out(longtake, tiny_folder):
    names = set(by_name(longtake("plugins", "--json", "--no-plugins").stdout))
    assert "builtin" in names
    assert not {name for name in names if name.startswith("longtake-")}
    asked = ["--model", str(tiny_folder), "--no-plugins", "--positional", "ease"]
    refused = longtake("plan", *asked, check=False)
    assert refused.returncode == 2
    assert "unknown positional strategy 'ease'" in refused.stderr
    assert "did not load" not in refused.stderr


class Commands:
    """A plugin that adds commands as it is told."""

    def __init__(self, offer: Callable[[Any], None]) -> None:
        self.offer = offer

    @hookimpl
    def longtake_register_commands(self, cli: Any) -> None:
        self.offer(cli)


def test_commands_that_fail_or_replace_others_are_left_out_and_named(builtins):
    cli = click.Group(commands={"generate": click.Command("generate")})
    original = cli.commands["generate"]

    def fail(cli: click.Group) -> None:
        cli.add_command(click.Command("half"))
        raise RuntimeError("no")

    add_plugin(builtins, Commands(lambda cli: cli.add_command(click.Command("fine"))), "fine")
    add_plugin(builtins, Commands(lambda cli: cli.add_command(click.Command("generate"))), "hijack")
    add_plugin(builtins, Commands(fail), "fails")
    offer_commands(builtins, cli)
    assert cli.commands["generate"] is original
    assert "fine" in cli.commands
    assert "half" not in cli.commands
    broken = builtins.registry.broken
    assert broken["hijack (its commands)"] == "PluginError: the command 'generate' exists already"
    assert broken["fails (its commands)"] == "RuntimeError: no"
