"""Standard output that is full, closed, or of a poor encoding; names that would command a terminal."""

from __future__ import annotations

import io
import os
import re
import subprocess
from pathlib import Path

import pytest
from program import PATIENCE, PROGRAM

from longtake.core.cli.screen import Screen
from longtake.core.errors import printable_lines

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no /dev/full")


def shell(folder: Path, line: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PROGRAM": str(PROGRAM), "COLUMNS": "100"} | variables
    return subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env=environment,
        capture_output=True,
        encoding=variables.get("PYTHONIOENCODING", "utf-8"),
        check=False,
        timeout=PATIENCE,
    )


@pytest.mark.parametrize("words", ["config --json", "strategies", "--version", "plan --frames 3 --json"])
def test_a_full_disk_is_one_sentence(words, tmp_path):
    done = shell(tmp_path, f"$PROGRAM {words} > /dev/full")
    assert done.returncode == 2
    assert done.stderr == "error: cannot write to standard output: No space left on device\n"


def test_a_closed_standard_output_is_one_sentence(tmp_path):
    done = shell(tmp_path, "$PROGRAM config --json >&-")
    assert done.returncode == 2
    assert done.stderr == "error: standard output is closed; send it somewhere, such as to /dev/null\n"
    assert shell(tmp_path, "$PROGRAM config --json > /dev/full 2>&1").returncode == 2


def test_a_reader_that_has_gone_ends_the_program_quietly(tmp_path):
    done = shell(tmp_path, "$PROGRAM strategies | true; echo ${PIPESTATUS[0]}")
    assert (done.stdout, done.stderr) == ("1\n", "")


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_characters_that_the_encoding_lacks_are_replaced(encoding, tmp_path):
    done = shell(tmp_path, "$PROGRAM strategies --kind positional", PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert "beta_fast" in done.stdout
    assert "?" in done.stdout


def test_control_characters_are_shown_and_not_obeyed():
    assert printable_lines("a\x1b[31m\tü\n\x9b…") == "a\\x1b[31m\\tü\n\\x9b…"
    screen = Screen(file=io.StringIO(), force_terminal=True, width=80)
    screen.print("[bold]name[/]: \x1b]0;title\x07", soft_wrap=True)
    shown = screen.file.getvalue()
    assert re.sub(r"\x1b\[[0-9;]*m", "", shown) == "name: \\x1b]0;title\n"  # rich leaves out the bell itself


@pytest.mark.parametrize("words", [("plan", "{odd}"), ("measure", "{odd}"), ("generate", "{odd}", "-o", "a.npy")])
def test_names_of_files_cannot_command_the_terminal(words, cli):
    refused = cli(*(word.replace("{odd}", "a\x1b]0;title\x07.png") for word in words), code=2)
    assert "\x1b" not in refused.stderr
    assert "\\x1b]0;title" in refused.stderr


def test_names_in_configs_cannot_either(cli, folder):
    (folder / "odd.yaml").write_text('positional: {name: "\\e[31m"}\n"\\e[32m": 1\n')
    assert "\x1b" not in cli("config", "-c", "odd.yaml", code=2).stderr
