"""The tutorial on plugins is true: its files are written and its commands run, in their order."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import imageio.v3 as iio
import pytest
from program import Answer, WarmProgram

PAGE = Path(__file__).parents[1] / "docs" / "writing-plugins.md"
STEPS = re.findall(r"```(python|toml|bash)\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.fixture(scope="module")
def python(make_environment) -> Path:
    """The python of an environment of its own."""
    return make_environment([])


@pytest.fixture(scope="module")
def program(python) -> Iterator[WarmProgram]:
    """The program of that environment."""
    program = WarmProgram(python)
    yield program
    program.close()


def test_every_step_of_the_page_works(python, program, tmp_path):
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0"}
    programs = {
        "pytest": [python, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        "pip": [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "-q"],
    }

    def run(name: str, *words: str) -> Answer:
        if (name, *words) == (".", ".venv/bin/activate"):
            return Answer(name, 0, "", "")  # the environment of this test stands for it
        if name == "python":  # bare pip and pytest could be those of another environment
            _, name, *rest = words
            words = tuple(rest)
            assert name in programs
        else:
            assert name == "longtake"
        if name == "longtake":
            words += ("--steps", "2") if words[0] == "generate" else ()  # as it stands it takes a minute
            return program.run(tmp_path, *words, COLUMNS="160")
        program.close()  # what is installed is seen by those that begin later
        return subprocess.run(
            [*programs[name], *words], cwd=tmp_path, env=os.environ | offline, timeout=300,
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    said = ""
    for language, text in STEPS:
        if language != "bash":
            path = tmp_path / text.splitlines()[0].removeprefix("# ")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            continue
        for line in text.splitlines():
            done = run(*shlex.split(line))
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
            said += done.stdout
    assert "positional.ease" in said
    assert "amount (number >= 0, <= 1) = 1.0" in said
    assert "3 passed" in said
    assert "nothing is wrong with ease" in said
    assert "attention  my-idea" in said
    assert iio.imread(tmp_path / "eased.mp4", plugin="pyav").shape[0] == 56
    assert (tmp_path / "plan.png").stat().st_size > 10_000
    assert list((tmp_path / "dist").glob("longtake_ease-0.1.0-*.whl"))
