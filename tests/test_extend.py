"""A video that goes on: the old frames as they were, new ones after them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from longtake import generate
from longtake.core.footage import rate_of, read_video

SMALL = ("--width", "32", "--height", "24", "--steps", "2", "--seed", "3")


def test_a_video_grows_by_as_many_frames_as_asked_for_and_can_be_made_again(cli, folder):
    rng = np.random.default_rng(0)
    before = rng.integers(0, 255, (5, 24, 32, 3), dtype=np.uint8)
    np.save(folder / "a.npy", before)
    done = cli("extend", "a.npy", "--model", "{tiny}", *SMALL, "--frames", "7", "-o", "b.npy")
    assert done.stdout.strip() == "b.npy"
    after = np.load(folder / "b.npy")
    assert after.shape == (12, 24, 32, 3)
    assert np.array_equal(after[:5], before)
    record = json.loads((folder / "b.npy.json").read_text())
    assert record["config"]["sampling"]["name"] == "chain"
    cli("generate", "--config", "b.npy.json", "-o", "c.npy")
    assert np.array_equal(np.load(folder / "c.npy"), after)


def test_a_file_keeps_its_frame_rate_and_its_size(cli, folder):
    cli("generate", "start.png", "--model", "{tiny}", *SMALL, "--frames", "4", "--output-fps", "12", "-o", "a.mp4")
    assert rate_of(folder / "a.mp4") == pytest.approx(12)
    cli("extend", "a.mp4", "--model", "{tiny}", "--steps", "2", "--frames", "3", "-o", "b.mp4")
    assert rate_of(folder / "b.mp4") == pytest.approx(12)
    assert read_video(folder / "b.mp4").shape == (7, 24, 32, 3)


def test_a_video_shorter_than_what_chunks_share_is_continued_too(tiny_model, builtins, tmp_path):
    np.save(tmp_path / "one.npy", np.full((1, 24, 32, 3), 90, dtype=np.uint8))
    result = generate(
        continues=str(tmp_path / "one.npy"), sampling={"name": "chain", "overlap": 2}, frames=6, model=tiny_model,
        plugins=builtins, width=32, height=24, steps=2, seed=1,
    )  # fmt: skip
    assert result.frames.shape == (6, 24, 32, 3)
    assert (result.frames[0] == 90).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nope.mp4", "--frames", "4"), "video nope.mp4 does not exist"),
        (("start.png.txt", "--frames", "4"), "does not exist"),
        (("a.npy",), "say how many frames the video grows by"),
        (("a.npy", "--frames", "4", "--sampling", "joint"), "sampling 'joint' cannot continue a video; name chain"),
        (("a.npy", "--frames", "4", "--loop"), "does not end where that begins; leave loop out"),
        (("a.npy", "--frames", "4", "--continues", "c.npy"), "a.npy is what is continued; leave --continues c.npy out"),
        (("empty.npy", "--frames", "4"), "video empty.npy cannot be read"),
        (("none.npy", "--frames", "4"), "video none.npy has no frames"),
    ],
)
def test_what_cannot_be_continued_is_said_so(cli, folder, words, message):
    np.save(folder / "a.npy", np.zeros((5, 24, 32, 3), dtype=np.uint8))
    np.save(folder / "none.npy", np.zeros((0, 24, 32, 3), dtype=np.uint8))
    (folder / "empty.npy").touch()
    done = cli("extend", *words, "--model", "{tiny}", *SMALL, "-o", "b.npy", code=2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "b.npy").exists()
