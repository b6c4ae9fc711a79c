"""Names that a run writes to: claimed by one run at a time, free again however it ends, and nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from longtake import open_video
from longtake.core.errors import OutputError
from longtake.core.files.claims import claim_of, claimed, older_of, part_of
from longtake.core.files.whole import whole_file

FRAME = np.zeros((16, 16, 3), np.uint8)

# Claims a name, begins to write a part, says so, and waits to be ended.
OWNER = """
import sys
from pathlib import Path
import numpy as np
from longtake import open_video
with open_video(Path(sys.argv[1]), fps=7, frames=9) as writer:
    writer.write(np.zeros((16, 16, 3), np.uint8))
    print("writing", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def owner(request):
    """The function that starts a process that writes a video until it is killed."""
    processes = []

    def start(path: Path) -> subprocess.Popen[str]:
        words = [sys.executable, "-c", OWNER, str(path)]
        processes.append(subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert processes[-1].stdout.readline() == "writing\n"
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("name", ["out.mp4", "out"])
def test_a_name_that_another_process_writes_is_refused_until_that_is_dead(tmp_path, owner, name):
    output = tmp_path / name
    process = owner(output)
    said = rf"{name} is being written by another run \(process {process.pid} on .*\); wait for it, or give"
    with pytest.raises(OutputError, match=said), open_video(output, fps=7, frames=1):
        pass
    with open_video(tmp_path / "other.npy", fps=7, frames=1) as writer:  # a living run is left alone
        writer.write(FRAME)
    assert len(list(tmp_path.glob(".out.part-*"))) == 1
    process.send_signal(signal.SIGKILL)
    process.wait()
    with open_video(output, fps=7, frames=1) as writer:
        writer.write(FRAME)
    assert sorted(os.listdir(tmp_path)) == sorted([name, "other.npy"])


def test_the_next_run_beside_it_removes_what_a_dead_one_left(tmp_path, owner):
    mine = tmp_path / ".notes.part-1.mp4"
    mine.write_text("no claim speaks of it")
    process = owner(tmp_path / "out.mp4")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(os.listdir(tmp_path)) == 3
    with open_video(tmp_path / "other.npy", fps=7, frames=1) as writer:
        writer.write(FRAME)
    assert set(os.listdir(tmp_path)) == {mine.name, "other.npy"}


@pytest.mark.parametrize("name", ["out.mp4", "out", "out.npy"])
def test_of_two_threads_with_one_name_one_is_refused(tmp_path, name):
    meet, refused = threading.Barrier(2, timeout=60), threading.Barrier(2, timeout=60)

    def write(number: int) -> str:
        meet.wait()
        try:
            with open_video(tmp_path / name, fps=7, frames=1) as writer:
                refused.wait()  # whoever has it waits for the other's refusal
                writer.write(FRAME)
        except OutputError as error:
            refused.wait()
            return str(error)
        return "written"

    with ThreadPoolExecutor(2) as pool:
        answers = sorted(pool.map(write, range(2)))
    assert answers[1] == "written"
    assert "is being written by another run" in answers[0]
    assert os.listdir(tmp_path) == [name]


def test_a_claim_within_a_claim_of_the_same_thread_is_none(tmp_path):
    with claimed(tmp_path / "a"), claimed(tmp_path / "a"), whole_file(tmp_path / "a") as part:
        part.write_text("whole")
    assert os.listdir(tmp_path) == ["a"]


def test_another_name_of_the_folder_is_the_same_claim(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    answers = []
    with claimed(tmp_path / "folder" / "a"):

        def other() -> None:
            with pytest.raises(OutputError, match="another run"), claimed(tmp_path / "link" / "a"):
                pass
            answers.append("refused")

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert answers == ["refused"]


def dead_claim(path: Path, **changes: object) -> Path:
    """Leave what a dead run leaves: a claim without a lock, and its part."""
    with claimed(path):
        said = json.loads(claim_of(path).read_bytes())
    claim_of(path).write_text(json.dumps(said | changes))
    part_of(path).write_text("half")
    return claim_of(path)


def test_what_a_run_of_another_machine_left_is_not_touched_but_its_name_can_be_claimed(tmp_path):
    claim = dead_claim(tmp_path / "a.npy", machine=["elsewhere"])
    with claimed(tmp_path / "b.npy"):
        pass
    assert set(os.listdir(tmp_path)) == {claim.name, part_of(tmp_path / "a.npy").name}
    with open_video(tmp_path / "a.npy", fps=7, frames=1) as writer:
        writer.write(FRAME)
    assert os.listdir(tmp_path) == ["a.npy"]


@pytest.mark.parametrize("parts", [["../precious"], ["precious"], [".x.part-1/../../precious"], "precious", [3], None])
def test_a_claim_that_names_what_is_no_part_removes_nothing(tmp_path, parts):
    (tmp_path / "folder").mkdir()
    for precious in (tmp_path / "precious", tmp_path / "folder" / "precious"):
        precious.write_text("precious")
    claim = dead_claim(tmp_path / "folder" / "a.npy", parts=parts)
    with claimed(tmp_path / "folder" / "b.npy"):
        pass
    assert (tmp_path / "precious").exists()
    assert (tmp_path / "folder" / "precious").exists()
    assert claim.exists()


def test_somebody_elses_file_of_that_name_is_neither_claimed_nor_changed(tmp_path):
    claim_of(tmp_path / "a.npy").write_text("precious")
    with pytest.raises(OutputError, match=r"\.a\.npy\.claim is no file of longtake"), claimed(tmp_path / "a.npy"):
        pass
    assert claim_of(tmp_path / "a.npy").read_text() == "precious"


@pytest.mark.parametrize("there", [True, False])
def test_an_older_folder_takes_its_name_again_if_the_new_one_never_came(tmp_path, there):
    output = tmp_path / "frames"
    dead_claim(output)
    older = older_of(part_of(output))
    older.mkdir()
    (older / "frame_00000.png").touch()
    if there:
        output.mkdir()
    with claimed(tmp_path / "other"):
        pass
    assert os.listdir(tmp_path) == ["frames"]
    assert os.listdir(output) == ([] if there else ["frame_00000.png"])
