"""A video that goes on: the old frames as they were, new ones after them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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
        (("a.npy", "--frames", "4", "--end-image", "nope.png"), "nope.png"),
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


def test_a_video_does_not_take_its_own_place(cli, folder):
    before = np.zeros((5, 24, 32, 3), dtype=np.uint8)
    np.save(folder / "a.npy", before)
    words = ("extend", "a.npy", "--model", "{tiny}", *SMALL, "--frames", "4", "--overwrite", "-o", "./a.npy")
    said = "output a.npy would take the place of the video that is continued, a.npy; give the output another name"
    assert said in cli(*words, code=2).stderr
    assert np.array_equal(np.load(folder / "a.npy"), before)


def test_a_video_may_grow_by_a_single_frame(cli, folder):
    np.save(folder / "a.npy", np.full((5, 24, 32, 3), 90, dtype=np.uint8))
    cli("extend", "a.npy", "--model", "{tiny}", *SMALL, "--frames", "1", "-o", "b.npy")
    assert len(np.load(folder / "b.npy")) == 6


def test_the_record_knows_all_that_a_video_is_made_from(cli, folder):
    np.save(folder / "a.npy", np.full((5, 24, 32, 3), 90, dtype=np.uint8))
    np.save(folder / "noise.npy", np.random.default_rng(0).standard_normal((9, 4, 6, 8)).astype(np.float32))
    more = ("--end-image", "start.png", "--noise", "file", "--set", "noise.path=noise.npy")
    cli("extend", "a.npy", "--model", "{tiny}", *SMALL, *more, "--frames", "4", "-o", "b.npy")
    digests = json.loads((folder / "b.npy.json").read_text())["sha256"]
    assert {Path(path).name for path in digests} == {"a.npy", "start.png", "noise.npy"}
    for path, digest in digests.items():
        assert digest == hashlib.sha256(Path(path).read_bytes()).hexdigest()


@pytest.mark.parametrize("ending", ["gif", "webp"])
def test_the_frame_rate_of_a_picture_that_moves_is_known(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    rng = np.random.default_rng(0)
    first, *others = (Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)) for _ in range(3))
    first.save(path, save_all=True, append_images=others, duration=80)
    assert rate_of(path) == pytest.approx(12.5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--continues", "nope.mp4"), "video nope.mp4 does not exist"),
        (("start.png", "--end-image", "nope.png"), "nope.png"),
        (("--end-image", "nope.png"), "nope.png"),
        (("--noise", "file", "--set", "noise.path=nope.npy"), "noise file nope.npy does not exist"),
    ],
)
def test_a_plan_of_what_is_not_there_is_refused(cli, words, message):
    refused = cli("plan", *words, "--model", "{tiny}", *SMALL, "--frames", "9", code=2).stderr
    assert message in refused
    assert "Traceback" not in refused


def test_the_plan_of_a_chain_says_where_chunks_begin(cli):
    words = ("plan", "--frames", "35", "--sampling", "chain", "--set", "sampling.overlap=3")
    assert (
        "the first of 3 chunks of a video of 35 frames, one after another, from frame 0, 11, 21" in cli(*words).stdout
    )
    assert json.loads(cli(*words, "--json").stdout)["chunks"] == [0, 11, 21]
