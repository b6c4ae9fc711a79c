"""Plugins that print, that end the program, or that raise what only a user may: standard output and exit codes stay."""

from __future__ import annotations

import json
import os
import signal
import sys

import click
import pytest
from odd_plugins import REGISTER, SMALL

from longtake import generate, load_plugins
from longtake.core.blame import blaming
from longtake.core.cli.commands import main
from longtake.core.errors import PluginError
from longtake.core.manager import offer_commands

NOISY = """
import ctypes, os
print("by Python")
os.write(1, b"by a system call\\n")
ctypes.CDLL(None).puts(b"by C")
import longtake

@longtake.hookimpl
def longtake_register_strategies(register):
    print("registering")

@longtake.hookimpl
def longtake_register_commands(cli):
    print("commanding")
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """The function that makes a module a plugin that is installed."""
    packages = tmp_path / "packages"
    packages.mkdir()
    monkeypatch.syspath_prepend(str(packages))
    installed = []

    def make(name: str, code: str) -> None:
        (packages / f"{name}.py").write_text(code)
        about = packages / f"{name}-1.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        (about / "entry_points.txt").write_text(f"[longtake]\n{name} = {name}\n")
        installed.append(name)

    yield make
    for name in installed:
        sys.modules.pop(name, None)


@pytest.mark.skipif(sys.platform == "win32", reason="asks C's library by its name on Unix")
def test_what_a_plugin_prints_goes_to_standard_error(install, capfd):
    install("longtake_noisy", NOISY)
    with pytest.raises(SystemExit):
        main(["plugins", "--json"])
    printed = capfd.readouterr()
    assert "longtake_noisy" in [row["name"] for row in json.loads(printed.out)]
    for words in ("by Python", "by a system call", "by C", "registering", "commanding"):
        assert f"{words}\n" in printed.err


def test_in_a_library_call_standard_output_stays_where_it_is(install, capfd):
    """What other threads print at that time is theirs."""
    install("longtake_slow", "import os, sys\nsys.seen = os.fstat(1).st_ino, sys.stdout")
    load_plugins()
    assert sys.seen == (os.fstat(1).st_ino, sys.stdout)
    assert os.fstat(1).st_ino != os.fstat(2).st_ino
    del sys.seen


@pytest.mark.parametrize(
    ("raised", "said"), [("KeyboardInterrupt", "KeyboardInterrupt"), ("SystemExit(0)", "SystemExit: 0")]
)
def test_an_import_that_ends_the_program_is_a_plugin_that_did_not_load(raised, said, install):
    install("longtake_ends", f"raise {raised}")
    assert load_plugins().registry.broken["longtake_ends"] == said


@pytest.mark.parametrize("code", ["pass", "raise ValueError('late')"])
def test_a_real_ctrl_c_in_an_import_stays_one(code, install):
    install("longtake_slow", f"import os, signal\ntry: os.kill(os.getpid(), signal.SIGINT)\nfinally:\n    {code}")
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        load_plugins()
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("raised", ["KeyboardInterrupt", "SystemExit(0)", "ValueError"])
def test_offering_commands_cannot_end_the_program(raised, plugins_with):
    plugins = plugins_with(f"@longtake.hookimpl\ndef longtake_register_commands(cli):\n    raise {raised}\n")
    offer_commands(plugins, click.Group())
    assert plugins.registry.broken["odd (its commands)"].startswith(raised.split("(", maxsplit=1)[0])


QUITS = """
import os, signal
from longtake.core.interrupts import Stopped

class Own(BaseException): pass

class Odd(longtake.PositionalStrategy):
    name = "odd"
    def positions(self, frames_F, span):
        if span.step: {ending}
        return frames_F
"""


@pytest.mark.parametrize("raised", ["SystemExit: 0", "KeyboardInterrupt", "GeneratorExit", "Own: mine"])
def test_a_strategy_that_ends_the_program_in_mid_run_is_named(raised, tiny_model, picture, plugins_with):
    name, _, value = raised.partition(": ")
    plugins = plugins_with(QUITS.format(ending=f"raise {name}({value!r})" if value else f"raise {name}") + REGISTER)
    said = rf"plugin 'odd' failed in its positional strategy 'odd' at step 2 of 3: {raised}\nat longtake_odd\.py"
    with pytest.raises(PluginError, match=said):
        generate(picture, model=tiny_model, plugins=plugins, positional="odd", **SMALL)


@pytest.mark.parametrize("ending", ["os.kill(os.getpid(), signal.SIGINT)", "raise Stopped"])
def test_what_stops_a_run_within_a_strategy_stays_what_it_is(ending, tiny_model, picture, plugins_with):
    plugins = plugins_with(QUITS.format(ending=ending) + REGISTER)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        generate(picture, model=tiny_model, plugins=plugins, positional="odd", **SMALL)
    assert signal.getsignal(signal.SIGINT) is before


INTERRUPTS = """
import longtake
class Odd(longtake.PositionalStrategy):
    name = "odd"
    def positions(self, frames_F, span):
        raise KeyboardInterrupt
@longtake.hookimpl
def longtake_register_strategies(register):
    register(Odd)
"""


@pytest.mark.parametrize(
    "words", [("plan", "--frames", "20", "--positional", "odd", "--motion-bucket", "5"), ("plugins", "--check")]
)
def test_a_strategy_that_interrupts_a_command_is_named_and_is_no_ctrl_c(words, install, capfd):
    install("longtake_interrupts", INTERRUPTS)
    with pytest.raises(SystemExit) as end:
        main([*words])
    said = capfd.readouterr().err
    assert end.value.code == 2
    assert "plugin 'longtake_interrupts'" in said and "KeyboardInterrupt" in said


@pytest.mark.parametrize("command", ["plugins", "plugins --check", "generate"])
def test_a_plugin_that_did_not_load_is_listed_and_noted_and_fails_the_check(
    command, install, folder, tiny_folder, capfd
):
    install("longtake_ends", "raise KeyboardInterrupt")
    small = ["--model", str(tiny_folder), "--frames", "2", "--steps", "1", "--width", "32", "--height", "24", "-q"]
    output = ["-o", str(folder / "out.npy"), str(folder / "start.png")]
    with pytest.raises(SystemExit) as end:
        main(command.split() + ([*small, *output] if command == "generate" else []))
    printed = capfd.readouterr()
    assert end.value.code == (2 if "--check" in command else 0)
    assert "did not load: KeyboardInterrupt" in " ".join((printed.out + printed.err).split())
    assert "longtake_ends" in printed.out + printed.err


@pytest.mark.parametrize("hook", ["run_started(run)", "after_step(step)", "frames_decoded(run)", "run_finished(run)"])
def test_a_hook_that_ends_the_program_is_named(hook, tiny_model, picture, plugins_with):
    plugins = plugins_with(f"@longtake.hookimpl\ndef longtake_{hook}:\n    raise SystemExit(0)\n")
    with pytest.raises(PluginError, match=rf"plugin 'odd' failed in longtake_{hook.split('(')[0]}.*: SystemExit: 0"):
        generate(picture, model=tiny_model, plugins=plugins, **SMALL)


def test_a_command_of_a_plugin_may_end_with_a_code_of_its_own(plugins_with):
    plugins = plugins_with(
        "@longtake.hookimpl\ndef longtake_register_commands(cli):\n"
        "    @cli.command()\n    def leave():\n        raise SystemExit(3)\n"
    )
    cli = click.Group()
    offer_commands(plugins, cli)
    with pytest.raises(SystemExit) as end, blaming(plugins):
        cli.main(["leave"], standalone_mode=False)
    assert end.value.code == 3


def test_a_plan_prints_nothing_but_json_whatever_strategies_print(install, capfd):
    install(
        "longtake_chatty",
        "import longtake\nclass Chatty(longtake.PositionalStrategy):\n    name = 'chatty'\n"
        "    def positions(self, frames_F, span):\n        print('positions')\n        return frames_F\n"
        "@longtake.hookimpl\ndef longtake_register_strategies(register):\n    register(Chatty)\n",
    )
    with pytest.raises(SystemExit) as end:
        main(["plan", "--frames", "20", "--positional", "chatty", "--motion-bucket", "5", "--json"])
    printed = capfd.readouterr()
    assert end.value.code == 0
    assert json.loads(printed.out)["frames"] == 20
    assert "positions\n" in printed.err
