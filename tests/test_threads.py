"""Threads of the program: their number is an option, and they sleep while they wait."""

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from longtake.core.cli.commands import generate_command
from longtake.core.cli.threads import check_threads
from longtake.core.errors import LongtakeError

ENTRY = """
import os, sys
from longtake.core.cli.entry import main
assert "torch" not in sys.modules, "OpenMP has read its settings already"
sys.argv = ["longtake", "--version"]
try:
    main()
except SystemExit:
    print(os.environ["OMP_WAIT_POLICY"])
"""


def test_threads_are_set_and_recorded(cli, folder):
    cli("generate", "example", "--frames", "2", "--steps", "1", "-q", "-o", "threads.npy", "--threads", "2")
    record = json.loads((folder / "threads.npy.json").read_text())
    assert record["machine"]["threads"] == 2
    assert "--threads 2 " in record["command"]


@pytest.mark.parametrize("threads", ["0", "-1", "two"])
def test_threads_must_be_a_positive_number(cli, threads):
    assert "--threads" in cli("generate", "example", "-o", "a.npy", "--threads", threads, code=2).stderr


def test_more_threads_than_are_of_use_are_refused():
    most = 4 * os.cpu_count()
    check_threads(most)
    with pytest.raises(
        LongtakeError, match=f"--threads 99999 is more than {most}, 4 for each of the {os.cpu_count()} "
    ):
        check_threads(99_999)
    done = CliRunner().invoke(generate_command, ["example", "--threads", "99999"])
    assert isinstance(done.exception, LongtakeError)


@pytest.mark.parametrize(("environment", "policy"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_threads_sleep_while_they_wait_unless_the_environment_says_otherwise(environment, policy):
    inherited = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-c", ENTRY], env=inherited | environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[-1] == policy
