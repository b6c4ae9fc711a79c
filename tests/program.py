"""The program, called in a process of its own each time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

PROGRAM = Path(sys.executable).with_name("longtake")
PATIENCE = 120  # seconds
Answer = subprocess.CompletedProcess[str]


def run_cold(folder: Path, *words: str, before: Callable[[], None] | None = None) -> Answer:
    """Run the installed program in a folder as a shell does."""
    return subprocess.run(
        [PROGRAM, *words],
        cwd=folder,
        env=os.environ | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
        preexec_fn=before,
    )


class WarmProgram:
    """The program of an environment without waiting for its imports, see ``warm.py``."""

    def __init__(self, python: Path = Path(sys.executable)) -> None:
        self._python, self._process = python, None

    def run(self, folder: Path, *words: str, **variables: str) -> Answer:
        """Run it in a folder, with variables of the environment."""
        with tempfile.NamedTemporaryFile("r+") as stdout, tempfile.NamedTemporaryFile("r+") as stderr:
            job = {"folder": str(folder), "words": words, "variables": variables}
            job |= {"stdout": stdout.name, "stderr": stderr.name}
            return Answer(list(words), self._code_of(json.dumps(job)), stdout.read(), stderr.read())

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.communicate()
            self._process = None

    def _code_of(self, job: str) -> int:
        if self._process is None:
            self._process = subprocess.Popen(
                [self._python, str(Path(__file__).with_name("warm.py"))],
                env=os.environ | {"COLUMNS": "200"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        print(job, file=process.stdin, flush=True)
        watch = threading.Timer(PATIENCE, lambda: os.killpg(process.pid, 9))
        watch.start()
        try:
            code = process.stdout.readline()
        finally:
            watch.cancel()
        assert code, f"no answer within {PATIENCE} seconds to {job}"
        return int(code)
