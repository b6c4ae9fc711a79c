"""Measures without a truth: each is good where it should be and bad where it should be, on videos made by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from longtake import open_video
from longtake.core.errors import LongtakeError
from longtake.plugins.proving import commands
from longtake.plugins.proving.clips import draw_clip
from longtake.plugins.proving.video_measures import measure_video, optical_flow

FRAMES = 24


def pan(speed: float = 1.5, frames: int = FRAMES, seed: int = 1) -> np.ndarray:
    """Return a pan of a known speed in pixels of the video, which is four times as large as the world."""
    world = draw_clip(seed, "pan").world
    return np.uint8(255 * world.render(speed / 4 * np.arange(frames), 128))


def values(video: np.ndarray) -> dict[str, float]:
    return {measure.name: measure.value for measure in measure_video(video)}


@pytest.fixture(scope="module")
def good() -> dict[str, float]:
    return values(pan())


def test_a_steady_pan_is_good_in_everything(good):
    assert good["flicker"] < 0.5
    assert good["warp error"] < 2.5
    assert good["seam"] < 1.3
    assert good["repetition"] == 0
    assert good["retreat"] < 0.2
    assert good["colour drift"] < 2
    assert good["sharpness kept"] == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("frames", [3, 4, 5])
def test_three_frames_are_enough_for_every_measure(frames):
    for measure in measure_video(pan(1, frames)):
        assert np.isfinite(measure.value), measure.name
        assert len(measure.curve) >= 1, measure.name
    for measure in measure_video(np.zeros((frames, 32, 32, 3), np.uint8)):  # with nothing to see some mean nothing
        assert not np.isinf(measure.value), measure.name
    back = pan(3, 3)
    back[2] = back[0]
    assert values(back)["repetition"] == 1
    assert values(back)["retreat"] == pytest.approx(1)


@given(speed=st.floats(0.4, 3), seed=st.integers(0, 50))
@settings(max_examples=10)
def test_motion_is_that_of_the_pixels(speed, seed):
    found = {measure.name: measure for measure in measure_video(pan(speed, 6, seed))}
    assert found["motion"].value == pytest.approx(speed, rel=0.3)
    assert found["motion"].unit == "pixels per frame"


def test_the_flow_points_where_the_picture_goes():
    world = draw_clip(1, "pan").world
    grey = np.uint8(255 * world.render(np.array([0.0, 0.5]), 128).mean(-1))
    direction = world.path(np.array([1.0]))[0, 0]
    ((_, found),) = optical_flow(grey)
    flow = np.median(found.reshape(-1, 2), axis=0)
    assert flow @ direction == pytest.approx(2.0, rel=0.3)


def test_a_still_video_is_perfect_in_all_but_motion_and_repetition():
    """Why no single measure says that a video is good."""
    found = values(np.repeat(pan()[:1], FRAMES, axis=0))
    assert found["motion"] == pytest.approx(0, abs=0.01)
    assert (found["flicker"], found["warp error"], found["colour drift"]) == (0, 0, 0)
    assert found["seam"] == 1
    assert found["repetition"] == 1
    assert np.isnan(found["retreat"])


def test_flicker_is_brightness_that_jumps(good):
    video = pan().astype(int)
    video[::2] += 12
    assert values(np.uint8(video.clip(0, 255)))["flicker"] > 8 > 10 * good["flicker"]


def test_a_cut_is_a_seam_and_unexplained_by_flow(good):
    video = pan()
    video[FRAMES // 2 :] = pan(seed=9)[FRAMES // 2 :]
    found = values(video)
    assert found["seam"] > 3 * good["seam"]
    assert found["warp error"] > 1.5 * good["warp error"]


@pytest.mark.parametrize("held", [2, 3, 4])
def test_held_frames_stutter_and_are_not_the_best_of_what_tune_seeks(good, held):
    found = values(np.repeat(pan(frames=FRAMES // held), held, axis=0))
    assert good["stutter"] < 0.1
    assert found["stutter"] > 0.9
    assert not found["unexplained per pixel"] < 5 * good["unexplained per pixel"]


def test_a_loop_repeats_itself():
    video = pan()
    assert values(np.concatenate([video, video]))["repetition"] > 0.9


def test_there_and_back_is_retreat():
    video = pan()
    assert values(np.concatenate([video, video[::-1]]))["retreat"] > 0.95


def test_a_colour_cast_that_grows_is_drift(good):
    cast = np.linspace(0, 60, FRAMES)[:, None, None, None] * np.array([1, 0, -1])
    assert values(np.uint8((pan() + cast).clip(0, 255)))["colour drift"] > good["colour drift"] + 10


def test_blur_in_the_second_half_loses_sharpness():
    video = pan().astype(float)
    for frame in range(FRAMES // 2, FRAMES):
        for _ in range(40):
            video[frame] = (np.roll(video[frame], 1, 0) + video[frame] + np.roll(video[frame], -1, 0)) / 3
            video[frame] = (np.roll(video[frame], 1, 1) + video[frame] + np.roll(video[frame], -1, 1)) / 3
    assert values(np.uint8(video))["sharpness kept"] < 0.75


def test_every_measure_has_a_unit_a_meaning_and_a_curve():
    for measure in measure_video(pan()):
        assert measure.unit
        assert len(measure.meaning) > 20
        assert measure.better in ("lower", "higher", "")
        assert len(measure.curve) >= FRAMES // 2


@pytest.fixture
def measure(tmp_path, monkeypatch):
    """Runs ``longtake measure`` in an empty folder that holds a pan as a .npy, as PNGs and as an mp4."""
    monkeypatch.chdir(tmp_path)
    for name in ("pan.npy", "pan", "pan.mp4"):
        with open_video(Path(name), fps=7, frames=FRAMES) as writer:
            for frame in pan():
                writer.write(frame)
    return lambda *arguments: CliRunner().invoke(commands.measure, arguments)


def test_the_command_measures_files_folders_and_arrays(measure, tmp_path):
    done = measure("pan.npy", "pan", "pan.mp4", "--json", "-o", "plot.png")
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)
    assert list(data) == ["pan.npy", "pan", "pan.mp4"]
    assert data["pan.npy"] == data["pan"]
    assert data["pan.mp4"]["motion"]["value"] == pytest.approx(data["pan"]["motion"]["value"], rel=0.1)
    with Image.open(tmp_path / "plot.png") as plot:
        assert plot.size[0] > 1000
    assert len(list(tmp_path.iterdir())) == 4


def test_the_table_has_a_row_for_each_measure_and_a_column_for_each_video(measure):
    output = measure("pan.npy", "pan").output
    assert "pan.npy" in output
    for name in ("flicker", "warp error", "motion", "seam", "repetition", "retreat"):
        assert name in output


def test_a_models_image_encoder_says_how_like_the_frames_are(measure, tiny_folder):
    data = json.loads(measure("pan", "--json", "--model", str(tiny_folder)).stdout)["pan"]
    assert data["like the first"]["curve"][0] == pytest.approx(1)
    assert -1 <= data["like the last"]["value"] <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope.mp4"], "video nope.mp4 does not exist"),
        (["empty"], "folder empty holds no PNGs"),
        (["text.mp4"], "video text.mp4 cannot be read"),
        (["notes.txt"], "video notes.txt cannot be read: it holds text"),
        (["grey.npy"], r"must hold \(F, H, W, 3\) in uint8, got \(4, 5\) in float64"),
        (["pan", "-o", "plot.what"], "picture plot.what must end in one of"),
    ],
)
def test_what_cannot_be_measured_is_said_so(measure, tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "notes.txt").write_text("no video\n" * 50)
    np.save(tmp_path / "grey.npy", np.zeros((4, 5)))
    with pytest.raises(LongtakeError, match=message):
        raise measure(*arguments).exception
    assert not list(tmp_path.glob("*plot*"))


def test_two_frames_are_too_few():
    with pytest.raises(LongtakeError, match="needs at least 3 frames to be measured, got 2"):
        measure_video(pan()[:2])
