"""Plugins as a newcomer writes them: one of each kind is made, installed, tested and used by name."""

from __future__ import annotations

import io
import json
import subprocess
import types
import warnings
from collections.abc import Iterator
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path

import pluggy
import pytest
import torch
from program import WarmProgram
from pydantic import Field, create_model
from rich.console import Console

import longtake
from longtake.core import hookspecs, manager
from longtake.core.audit import problems
from longtake.core.cli.listing import print_strategies, strategy_rows
from longtake.core.config import STRATEGY_KINDS
from longtake.core.errors import LongtakeError, OutputError
from longtake.core.manager import add_plugin
from longtake.plugins.authoring.package import write_package


@pytest.fixture(scope="module")
def packages(tmp_path_factory) -> Path:
    """A folder with a new package of each kind."""
    folder = tmp_path_factory.mktemp("new")
    for kind in STRATEGY_KINDS:
        write_package(f"my-{kind}", kind, folder)
    return folder


@pytest.fixture(scope="module")
def python(packages, make_environment) -> Path:
    """The python of an environment in which they are installed."""
    return make_environment(sorted(packages.iterdir()))


@pytest.fixture(scope="module")
def program(python) -> Iterator[WarmProgram]:
    """The program of that environment."""
    program = WarmProgram(python)
    yield program
    program.close()


def test_a_new_package_of_each_kind_passes_its_own_tests(python, packages):
    tests = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *packages.iterdir()]
    done = subprocess.run(tests, cwd=packages, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{2 * len(STRATEGY_KINDS)} passed" in done.stdout


def test_a_new_strategy_of_each_kind_is_used_by_name(program, tmp_path):
    named = [word for kind in STRATEGY_KINDS for word in (f"--{kind}", f"my-{kind}")]
    config = json.loads(program.run(tmp_path, "config", "--frames", "40", *named, "--json").stdout)
    assert {config[kind]["name"] for kind in STRATEGY_KINDS} == {f"my-{kind}" for kind in STRATEGY_KINDS}
    checked = program.run(tmp_path, "plugins", "--check")
    assert checked.returncode == 0
    assert (checked.stdout + checked.stderr).startswith("nothing is wrong with my-")


def test_the_environment_leaves_all_of_them_out(program, tmp_path):
    listed = json.loads(program.run(tmp_path, "plugins", "--json", LONGTAKE_NO_PLUGINS="1").stdout)
    assert not [row for row in listed if row["name"].startswith("my-")]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("My", "'My' cannot be the name of a plugin; use small letters, digits and -, such as my-idea"),
        ("a b", "cannot be the name"),
        ("../a", "cannot be the name"),
        ("class", "cannot be the name"),
        ("", "cannot be the name"),
        ("a" * 51, "aaa… cannot be the name of a plugin: it has 51 letters, of at most 50"),
        (
            "freenoise",
            "'freenoise' is taken already, by a noise strategy or a plugin that is there; choose",
        ),
        ("preview", "'preview' is taken already"),
        ("null", "'null' is taken already"),
    ],
)
def test_a_name_that_cannot_be_one_is_refused(tmp_path, name, message):
    with pytest.raises(LongtakeError, match=message):
        write_package(name, "noise", tmp_path)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(cli, folder):
    made = cli("plugin", "new", "idea", "--kind", "motion")
    assert made.stdout == "longtake-idea\n"
    before = {path.name: path.read_text() for path in (folder / "longtake-idea").iterdir()}
    assert set(before) == {"pyproject.toml", "README.md", "longtake_idea.py", "test_longtake_idea.py"}
    assert "longtake-idea exists; choose another name, or remove it" in cli("plugin", "new", "idea", code=2).stderr
    assert {path.name: path.read_text() for path in (folder / "longtake-idea").iterdir()} == before
    with pytest.raises(OutputError, match="cannot make folder"):
        write_package("other", "noise", folder / "start.png")


def plugins_with(**functions):
    plugin = types.ModuleType("longtake_odd")
    vars(plugin).update(functions)
    plugins = longtake.load_plugins(third_party=False)
    add_plugin(plugins, plugin, "odd")
    plugins.registry.packages["odd"] = "longtake-odd 1"
    return plugins


class Clipped(longtake.PositionalStrategy):
    """Lose a frame."""

    name = "clipped"

    def positions(self, frames_F, span):
        return frames_F[1:]


def test_a_check_finds_what_no_longer_matches():
    def longtake_after_step(step):
        """Lack its mark."""

    def longtake_before_steps(step):
        """Be misspelt."""

    @longtake.hookimpl
    def longtake_register_strategies(register):
        register(Clipped)

    found = problems(
        plugins_with(
            longtake_after_step=longtake_after_step,
            longtake_before_steps=longtake_before_steps,
            longtake_register_strategies=longtake_register_strategies,
        )
    )
    assert found[:2] == [
        ("odd", "longtake_after_step is never called: put @longtake.hookimpl above it"),
        ("odd", "longtake_before_steps is no hook of this longtake\ndid you mean 'longtake_before_step'?"),
    ]
    assert "'clipped' breaks its contract: clipped: positions must have shape" in found[2][1]
    assert len(found) == 3


def test_a_method_that_is_misspelt_is_found():
    class Spelt(longtake.PositionalStrategy):
        """Meant to move frames."""

        name = "spelt"

        def positionss(self, frames_F, span):
            return frames_F

        def helper(self):
            """Is nothing of the kind."""

    @longtake.hookimpl
    def longtake_register_strategies(register):
        register(Spelt)

    said = "positional strategy 'spelt': positionss is never called\ndid you mean 'positions'?"
    assert problems(plugins_with(longtake_register_strategies=longtake_register_strategies)) == [("odd", said)]


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("tensor", {"option": (torch.Tensor, ...)}, "its options have no JSON schema"),
        ("failing", {"option": (float, Field(default_factory=lambda: 1 / 0))}, "the default of its option 'option'"),
    ],
)
def test_options_that_cannot_be_listed_are_refused_when_they_are_registered(kind, options, said):
    settings = type(
        "Loose", (longtake.NoiseSchedule,), {"name": kind, "model_config": {"arbitrary_types_allowed": True}}
    )
    cls = create_model("Unlisted", __base__=settings, **options)
    with pytest.raises(LongtakeError, match=f"Unlisted: {said}"):
        longtake.load_plugins(third_party=False).registry.add(cls, "odd")


def test_options_of_any_plain_type_are_listed():
    class Rich(longtake.NoiseSchedule):
        """Have options."""

        name = "rich"
        weights: dict[str, float] = Field(default={"a": 1.0}, description="Weights.")
        path: Path = Field(default=Path("x"), description="Path.")

    @longtake.hookimpl
    def longtake_register_strategies(register):
        register(Rich)

    plugins = plugins_with(longtake_register_strategies=longtake_register_strategies)
    rows = {row["name"]: row for row in strategy_rows(plugins.registry)}
    told = {option["name"]: option["default"] for option in rows["rich"]["options"]}
    assert told == {"weights": {"a": 1.0}, "path": "x"}
    console = Console(width=150, record=True, file=io.StringIO())
    print_strategies(list(rows.values()), console)
    assert '= {"a": 1.0}' in console.export_text()


def test_a_check_of_good_plugins_finds_nothing():
    @longtake.hookimpl
    def longtake_after_step(step):
        """Do nothing."""

    assert problems(plugins_with(longtake_after_step=longtake_after_step)) == []


class Package(Distribution):
    """A distribution that asks for some longtake."""

    def __init__(self, *requires: str) -> None:
        self.asked = requires

    requires = property(lambda self: list(self.asked))
    name = "longtake-odd"

    def read_text(self, filename):
        return "Metadata-Version: 2.1\nName: longtake-odd\nVersion: 1\n" if filename == "METADATA" else None

    def locate_file(self, path):
        return Path(path)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (("longtake>=99",), "PluginError: it supports longtake >=99, and this is 0.1.0"),
        (("Longtake<0.1",), "PluginError: it supports longtake <0.1, and this is 0.1.0"),
        (('longtake>=99; python_version >= "3"',), "PluginError: it supports longtake >=99, and this is 0.1.0"),
        (('longtake>=99; python_version < "3"',), None),
        (("numpy", "longtake<0.1"), "PluginError: it supports longtake <0.1, and this is 0.1.0"),
        (("longtake>=0.1,<99",), None),
        (("longtake",), None),
        (("other>=99",), None),
    ],
)
def test_a_plugin_says_which_versions_it_supports(asked, reason):
    point = EntryPoint("odd", "json", "longtake")
    vars(point)["dist"] = Package(*asked)
    plugins = longtake.load_plugins(third_party=False)
    manager._load_entry_point(plugins, point)
    assert plugins.registry.broken.get("odd") == reason


def test_what_lies_in_the_working_directory_is_not_loaded(tmp_path, monkeypatch):
    """Not even where Python looks there, as it does for ``python -c``."""
    info = tmp_path / "longtake_here-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: longtake-here\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[longtake]\nhere = longtake_here\n")
    (tmp_path / "longtake_here.py").write_text("raise RuntimeError('loaded')\n")
    for path in ("", str(tmp_path)):
        monkeypatch.setattr("sys.path", [path, *[each for each in __import__("sys").path if each]])
        monkeypatch.chdir(tmp_path)
        assert "here" not in longtake.load_plugins().registry.broken
    (info / "entry_points.txt").write_bytes(b"[longtake]\n\xff\xfe")
    monkeypatch.chdir(tmp_path.parent)
    assert "its metadata cannot be read" in longtake.load_plugins().registry.broken[info.name]
    (info / "entry_points.txt").write_text("[longtake]\nhere = longtake_here\n")
    assert longtake.load_plugins().registry.broken["here"] == "RuntimeError: loaded"


def test_a_hook_that_will_go_warns_with_the_plugins_file_and_line():
    specs = types.ModuleType("specs")
    notice = FutureWarning("longtake_old goes with 0.9; use longtake_new")

    @pluggy.HookspecMarker(hookspecs.PROJECT)(warn_on_impl=notice)
    def longtake_old():
        """Be about to go."""

    specs.longtake_old = longtake_old
    plugins = longtake.load_plugins(third_party=False)
    plugins.manager.add_hookspecs(specs)

    @longtake.hookimpl
    def implementation():
        """Use it."""

    implementation.__name__ = "longtake_old"
    plugin = types.ModuleType("odd")
    plugin.longtake_old = implementation
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        add_plugin(plugins, plugin, "odd")
    (warning,) = told
    assert str(warning.message) == str(notice)
    assert warning.filename == __file__
    assert warning.lineno == implementation.__code__.co_firstlineno


def test_the_fixtures_for_authors(tiny_svd, perfect_denoiser, long_spans):
    assert tiny_svd.facts.trained == 4
    answer = torch.randn(1, 5, 4, 3, 4)
    denoiser = perfect_denoiser(answer)
    made = longtake.denoise(denoiser, torch.randn(1, 5, 4, 3, 4), torch.tensor([700.0, 20.0, 1.0, 0.0]))
    torch.testing.assert_close(made, answer)
    assert denoiser.calls == 3
    assert all(span.frames > span.trained for span in long_spans)
    assert {span.progress for span in long_spans} == {0.0, 0.37, 1.0}
