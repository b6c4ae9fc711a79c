"""What asks a run to stop is obeyed: everything is cleaned up, the exit code says why, and no short file is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from program import PROGRAM

from longtake import open_video
from longtake.core.cli import entry
from longtake.core.errors import OutputError
from longtake.core.files.encoders import Sink

SIGNALS = {"SIGTERM": 143, "SIGHUP": 129, "SIGQUIT": 131, "SIGINT": 130}
STOPPED = {name: "Ctrl-C" if name == "SIGINT" else name for name in SIGNALS}


def start(folder: Path, model: Path, output: str, ignored: tuple[int, ...] = ()) -> subprocess.Popen[str]:
    """Start a long generation, and return as soon as it has written its preview."""

    def usual() -> None:  # a shell that runs tests in the background may have told its children to ignore some
        for name in SIGNALS:
            number = getattr(signal, name)
            signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)

    asked = ["--model", str(model), "--steps", "1000", "--width", "32", "--height", "32", "--preview", "p.png", "-q"]
    process = subprocess.Popen(
        [str(PROGRAM), "generate", "start.png", "-o", output, *asked],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=usual,  # noqa: PLW1509
    )
    patience = time.monotonic() + 100
    while not (folder / "p.png").exists() and process.poll() is None and time.monotonic() < patience:
        time.sleep(0.05)
    return process


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGQUIT"])
def test_a_signal_in_the_middle_is_a_sentence_and_leaves_only_the_preview(folder, tiny_folder, name):
    before = set(os.listdir(folder))
    process = start(folder, tiny_folder, "out.mp4")
    process.send_signal(getattr(signal, name))
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == SIGNALS[name]
    assert stdout == ""
    assert stderr.strip() == f"stopped by {name}; nothing half-written is left behind"
    assert set(os.listdir(folder)) == before | {"p.png"}


def test_under_nohup_a_run_goes_on_and_what_sigkill_leaves_the_next_run_removes(folder, tiny_folder, cli):
    before = set(os.listdir(folder))
    process = start(folder, tiny_folder, "out.mp4", ignored=(signal.SIGHUP,))
    (folder / "p.png").unlink()
    process.send_signal(signal.SIGHUP)
    patience = time.monotonic() + 60
    while not (folder / "p.png").exists() and time.monotonic() < patience:
        time.sleep(0.05)
    assert process.poll() is None
    process.kill()
    process.communicate()
    assert {".out.mp4.claim", ".out.mp4.json.claim", ".p.png.claim"} <= set(os.listdir(folder))
    cli(
        "generate", "start.png", "--model", "{tiny}", "--steps", "1", "--width", "32", "--height", "32", "-o", "out.mp4"
    )
    assert set(os.listdir(folder)) - {"p.png"} == before | {"out.mp4", "out.mp4.json"}


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_that_a_library_swallows_still_gives_its_exit_code(monkeypatch, capsys, name):
    def run() -> None:
        try:
            signal.raise_signal(getattr(signal, name))
        except KeyboardInterrupt:
            raise RuntimeError("the library's own") from None

    monkeypatch.setattr("longtake.core.cli.commands.main", run)
    if name == "SIGINT":  # nobody but Python knows of it
        monkeypatch.setattr("longtake.core.cli.commands.main", lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(SystemExit) as end:
        entry.main()
    assert end.value.code == SIGNALS[name]
    assert capsys.readouterr().err == f"stopped by {STOPPED[name]}; nothing half-written is left behind\n"


def test_handlers_are_the_callers_again_and_those_of_others_are_never_replaced(monkeypatch):
    seen = {}

    def mine(number: int, frame: object) -> None:
        seen["mine"] = number

    def run() -> None:
        seen["within"] = [signal.getsignal(getattr(signal, name)) for name in entry.STOPPING]
        signal.raise_signal(signal.SIGHUP)
        sys.exit(3)

    monkeypatch.setattr("longtake.core.cli.commands.main", run)
    before = [signal.getsignal(getattr(signal, name)) for name in entry.STOPPING]
    signal.signal(signal.SIGHUP, mine)
    try:
        with pytest.raises(SystemExit) as end:
            entry.main()
    finally:
        signal.signal(signal.SIGHUP, before[1])
    assert end.value.code == 3
    assert seen["mine"] == signal.SIGHUP
    assert seen["within"][1] is mine
    assert [signal.getsignal(getattr(signal, name)) for name in entry.STOPPING] == before


def test_in_another_thread_than_the_main_one_no_handler_is_set(monkeypatch):
    codes = []
    monkeypatch.setattr("longtake.core.cli.commands.main", lambda: sys.exit(0))

    def run() -> None:
        try:
            entry.main()
        except SystemExit as end:
            codes.append(end.code)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert codes == [0]


class Stop(BaseException):
    """What somebody raises to end things."""


@pytest.mark.parametrize("method", ["write", "seek"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, Stop, OSError])
def test_whatever_is_raised_in_a_callback_of_ffmpeg_comes_out_and_no_file_takes_its_name(
    tmp_path, monkeypatch, capfd, method, error
):
    """As soon as it can: FFmpeg calls back when its buffer is full, or in the end."""
    noise = np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3), dtype=np.uint8)
    whole = Sink.__init__

    class Failing:
        def __init__(self, file: object) -> None:
            self.file = file

        def __getattr__(self, name: str) -> object:
            if name == method:
                raise error("stop")
            return getattr(self.file, name)

    def failing(self: Sink, path: Path) -> None:
        whole(self, path)
        self.file = Failing(self.file)

    monkeypatch.setattr(Sink, "__init__", failing)
    expected = OutputError if error is OSError else error
    with pytest.raises(expected, match="stop"), open_video(tmp_path / "out.mp4", fps=7, frames=6) as writer:
        for frame in noise:
            writer.write(frame)
    assert os.listdir(tmp_path) == []
    assert capfd.readouterr().err == ""


# Ctrl-C from within FFmpeg's callback, where Python would raise it: at the next line of Python.
INTERRUPTED = """
import signal, sys
from pathlib import Path
import numpy as np
from longtake import open_video
from longtake.core.files.encoders import Sink

kept = Sink.write
def write(self, data):
    signal.raise_signal(signal.SIGINT)
    return kept(self, data)
Sink.write = write
try:
    with open_video(Path(sys.argv[1]), fps=7, frames=6) as writer:
        for frame in np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3), dtype=np.uint8):
            writer.write(frame)
except KeyboardInterrupt:
    print("stopped")
"""


@pytest.mark.parametrize("ending", [".mp4", ".webm", ".gif", ".webp"])
def test_ctrl_c_while_ffmpeg_writes_is_ctrl_c_and_leaves_no_file(tmp_path, ending):
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path / f"out{ending}")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert done.stderr == ""
    assert done.stdout == "stopped\n"
    assert os.listdir(tmp_path) == []
