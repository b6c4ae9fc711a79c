"""Colours of video files: the tagged matrix is the one that was used, reading obeys tags, and nothing drifts."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import make_clip, yuv_frame

from longtake import LongtakeError, open_video
from longtake.core.files import colour
from longtake.core.files.clip import RgbReader, upright
from longtake.core.files.colour import BT601, BT709, Tags, YuvWriter
from longtake.core.files.video import ENDINGS
from longtake.core.footage import rate_of, read_video

WEIGHTS = {"bt709": (0.2126, 0.0722), "bt601": (0.299, 0.114), "bt2020": (0.2627, 0.0593)}  # of red and blue


def to_yuv(rgb: np.ndarray, matrix: str) -> np.ndarray:
    """Return Y, Cb, Cr in limited range and 8 bits, by the definition."""
    red, blue = WEIGHTS[matrix]
    r, g, b = np.moveaxis(rgb / 255, -1, 0)
    y = red * r + (1 - red - blue) * g + blue * b
    return np.stack([16 + 219 * y, 128 + 112 * (b - y) / (1 - blue), 128 + 112 * (r - y) / (1 - red)], axis=-1)


def to_rgb(yuv: tuple[float, float, float], matrix: str, *, full: bool = False) -> np.ndarray:
    """Return red, green, blue by the definition."""
    red, blue = WEIGHTS[matrix]
    y, cb, cr = np.array(yuv, float) - (0 if full else 16, 128, 128)
    y, cb, cr = y / (255 if full else 219), cb / (255 if full else 224), cr / (255 if full else 224)
    r, b = y + 2 * (1 - red) * cr, y + 2 * (1 - blue) * cb
    g = (y - red * r - blue * b) / (1 - red - blue)
    return 255 * np.clip([r, g, b], 0, 1)


def write(path: Path, video: np.ndarray) -> Path:
    with open_video(path, fps=7, frames=len(video)) as writer:
        for frame in video:
            writer.write(frame)
    return path


@pytest.mark.parametrize(("tags", "matrix"), [(BT709, "bt709"), (BT601, "bt601")])
def test_the_numbers_written_are_those_of_the_matrix(tags: Tags, matrix: str):
    patches = np.random.default_rng(0).integers(0, 256, (200, 3), dtype=np.uint8)
    convert = YuvWriter(tags, "left")
    for patch in patches:
        planes = convert(np.tile(patch, (4, 4, 1))).planes
        written = np.array([np.frombuffer(plane, np.uint8)[0] for plane in planes], float)
        assert np.abs(written - to_yuv(patch, matrix)).max() < 0.51


@pytest.mark.parametrize("ending", [".mp4", ".webm"])
@pytest.mark.parametrize(
    ("height", "width", "matrix", "name"), [(64, 96, 6, "bt601"), (736, 32, 1, "bt709"), (16, 1280, 1, "bt709")]
)
def test_files_carry_the_tags_of_what_is_in_them(tmp_path, ending, height, width, matrix, name):
    path = write(tmp_path / f"a{ending}", np.full((2, height, width, 3), (60, 160, 60), np.uint8))
    with av.open(path) as container:
        stream = container.streams.video[0]
        context, frame = stream.codec_context, next(container.decode(stream))
        for tagged in (context, frame):
            assert (tagged.colorspace, tagged.color_primaries, tagged.color_trc, tagged.color_range) == (
                matrix,
                1,
                1,
                1,
            )
    written = [np.frombuffer(plane, np.uint8)[0] for plane in frame.planes]
    assert np.abs(written - to_yuv(np.array([60, 160, 60]), name)).max() < 1
    assert np.abs(read_video(path).astype(int) - (60, 160, 60)).max() <= 1


@pytest.mark.parametrize(
    ("size", "matrix", "full", "meant"),
    [
        ((16, 16), 1, False, "bt709"), ((16, 16), 5, False, "bt601"), ((16, 16), 6, False, "bt601"),
        ((16, 16), 9, False, "bt2020"), ((16, 16), 2, False, "bt601"), ((720, 16), 2, False, "bt709"),
        ((16, 1280), 2, False, "bt709"), ((16, 16), 1, True, "bt709"), ((16, 16), 6, True, "bt601"),
    ],
)  # fmt: skip
def test_reading_obeys_the_tags_and_guesses_by_the_size_where_there_are_none(tmp_path, size, matrix, full, meant):
    values = (120, 100, 160)
    frame = yuv_frame(values, height=size[0], width=size[1])
    frame.colorspace, frame.color_range = matrix, 2 if full else 1
    read = read_video(make_clip(tmp_path / "a.mp4", [frame] * 2))
    assert np.abs(read - to_rgb(values, meant, full=full)).max() <= 1


def test_a_full_range_jpeg_clip_and_ten_bits_are_read(tmp_path):
    motion_jpeg = make_clip(tmp_path / "a.avi", [yuv_frame((120, 100, 160), pixels="yuvj420p")] * 2, codec="mjpeg")
    assert np.abs(read_video(motion_jpeg) - to_rgb((120, 100, 160), "bt601", full=True)).max() <= 3
    deep = yuv_frame((480, 400, 640), pixels="yuv420p10le")
    deep.colorspace = deep.color_primaries = deep.color_trc = deep.color_range = 1
    read = read_video(make_clip(tmp_path / "b.mp4", [deep] * 2))
    assert np.abs(read - to_rgb((120, 100, 160), "bt709")).max() <= 1


@pytest.mark.parametrize(("transfer", "white"), [(16, 644), (18, 721)])
def test_hdr_is_read_as_srgb_and_says_so(tmp_path, caplog, transfer, white):
    """Reference white, 203 cd/m2, is 58 % of PQ's range and 75 % of HLG's."""
    read = []
    for number, value in enumerate((64, white // 2, white)):
        frame = yuv_frame((value, 512, 512), pixels="yuv420p10le")
        frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range = 9, 9, transfer, 1
        clip = make_clip(tmp_path / f"{number}.mp4", [frame] * 2)
        read.append(read_video(clip).mean((0, 1, 2)))
    assert np.ptp(read, axis=1).max() <= 2  # grey
    assert read[0].max() <= 2
    assert 20 < read[1].mean() < 160
    assert read[2].mean() > 225
    assert "is in HDR" in caplog.text


def test_a_matrix_that_is_not_known_is_refused(tmp_path):
    frame = yuv_frame((120, 100, 160))
    frame.colorspace = 8
    with pytest.raises(LongtakeError, match="colour matrix is number 8"):
        read_video(make_clip(tmp_path / "a.mp4", [frame] * 2))


CORNERS = np.zeros((16, 32, 3), np.uint8)
CORNERS[:8, :16], CORNERS[:8, 16:], CORNERS[8:, :16], CORNERS[8:, 16:] = 40, 90, 150, 220


@pytest.mark.parametrize(
    ("turned", "seen"),
    [
        ({"degrees": 90}, np.rot90(CORNERS)),
        ({"degrees": 180}, np.rot90(CORNERS, 2)),
        ({"degrees": 270}, np.rot90(CORNERS, 3)),
        ({"degrees": 0, "hflip": True}, CORNERS[:, ::-1]),
        ({"degrees": 0, "vflip": True}, CORNERS[::-1]),
        ({"degrees": 90, "hflip": True}, np.rot90(CORNERS)[:, ::-1]),
        ({"degrees": 0}, CORNERS),
    ],
)
def test_clips_that_are_turned_in_their_metadata_are_read_upright(tmp_path, turned, seen):
    frames = [YuvWriter(BT709, "left")(CORNERS) for _ in range(3)]
    read = read_video(make_clip(tmp_path / "a.mp4", frames, turned=turned))
    assert read.shape == (3, *seen.shape)
    assert np.abs(read.astype(int) - seen).max() < 12


def test_other_angles_than_right_ones_turn_to_the_nearest():
    slight = np.int32(65536 * np.array([[0.1, 0.99, 0], [-0.99, 0.1, 0], [0, 0, 16384]]))
    assert np.array_equal(upright(CORNERS, slight), np.rot90(CORNERS, 3))


def test_pixels_that_are_not_square_become_so(tmp_path):
    frames = [YuvWriter(BT709, "left")(CORNERS) for _ in range(3)]
    read = read_video(make_clip(tmp_path / "a.mp4", frames, aspect=Fraction(3, 2)))
    assert read.shape == (3, 16, 48, 3)
    assert [int(read[0, 4, column].mean()) for column in (8, 40)] == [
        pytest.approx(40, abs=3),
        pytest.approx(90, abs=3),
    ]


def test_frames_that_are_not_evenly_spaced_are_said_so(tmp_path, caplog):
    frames = [yuv_frame((100, 128, 128)) for _ in range(6)]
    path = make_clip(tmp_path / "a.mp4", frames, times=[0, 1, 2, 3, 9, 10])
    assert len(read_video(path)) == 6
    assert "are not evenly spaced, 0.1 to 0.6 s apart" in caplog.text
    assert rate_of(path) == pytest.approx(5)
    caplog.clear()
    read_video(make_clip(tmp_path / "b.mp4", frames))
    assert not caplog.text


def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 96, 128, 3), dtype=np.uint8)


def gradients() -> np.ndarray:
    time, row, column = np.mgrid[0:6, 0:96, 0:128]
    return np.uint8(np.stack([2 * column, 2.5 * row, 250 - row - column + time], axis=-1))


def photograph() -> np.ndarray:
    """Return what a camera sees: light that falls off, a wall, a ball before it, a lens that is not quite sharp."""
    rng = np.random.default_rng(1)
    time, row, column = np.mgrid[0:6, 0:98, 0:130]
    light = 0.75 - 0.3 * np.hypot(row - 30, column - 40) / 80
    bricks = np.where((row // 12 % 2 * 8 + column + time) % 16 < 2, 0.7, 1.0)
    wall = np.stack([0.85 * light * bricks, 0.55 * light * bricks, 0.4 * light], axis=-1)
    ball = np.hypot(row - 60, column - 70 - 2 * time) < 22
    wall[ball] = np.stack([0.2 * light, 0.35 * light, 0.8 * light], axis=-1)[ball]
    for axis in (1, 2):
        wall = sum(np.roll(wall, shift, axis) for shift in (-1, 0, 1)) / 3
    wall = wall[:, 1:-1, 1:-1]
    return np.uint8(np.rint(np.clip(255 * wall + rng.normal(0, 2, wall.shape), 0, 255)))


# Least ratio of signal to noise in dB after the first and after ten rounds, for the photograph.
KEPT = {
    "": (99, 99),
    ".npy": (99, 99),
    ".mp4": (42, 41.5),
    ".webm": (39.5, 38.5),
    ".webp": (39.5, 39),
    ".gif": (44, 44),
}


@pytest.mark.parametrize("ending", ["", *ENDINGS])
@pytest.mark.parametrize("make", [noise, gradients, photograph])
def test_ten_rounds_of_writing_and_reading_move_no_mean(tmp_path, ending, make: Callable[[], np.ndarray]):
    """Prints what each round costs, for numerics.md."""
    video, ratios = make(), []
    read = video
    for number in range(10):
        read = read_video(write(tmp_path / f"{number}{ending}", read))
        moved = np.abs(read.mean((0, 1, 2)) - video.mean((0, 1, 2))).max()
        assert moved < (0.15 if ending == ".webp" else 0.1), f"round {number}"
        ratios.append(10 * np.log10(255**2 / max(np.mean((read - video.astype(float)) ** 2), 1e-6)))
    print(
        f"\n{make.__name__}{ending}: {ratios[0]:.1f} dB after one round, {ratios[-1]:.1f} after ten; moved {moved:.3f}"
    )
    if make is photograph:
        assert ratios[0] > KEPT[ending][0]
        assert ratios[-1] > KEPT[ending][1]


def test_conversion_alone_is_undone_by_reading():
    """A frame that was read gives the numbers again that it was read from, where no colour is cut off."""
    frame = photograph()[0]
    convert, read = YuvWriter(BT709, "left"), RgbReader()
    first = convert(frame)
    second = convert(read(first))
    for one, other in zip(first.planes, second.planes, strict=True):
        differences = np.frombuffer(one, np.uint8).astype(int) - np.frombuffer(other, np.uint8)
        assert np.abs(differences).max() <= 1
        assert (differences != 0).mean() < 0.01


def test_a_gif_keeps_the_pictures_of_a_gif(tmp_path):
    first = read_video(write(tmp_path / "a.gif", photograph()))
    assert np.array_equal(read_video(write(tmp_path / "b.gif", first)), first)


@pytest.mark.parametrize("siting", ["left", "center"])
def test_a_long_row_is_filtered_in_pieces_as_if_it_were_whole(siting, monkeypatch):
    row_1S = np.random.default_rng(0).random((1, 700), np.float32)
    whole_1S = row_1S @ colour.chroma_filter(700, siting, siting).T
    monkeypatch.setattr(colour, "PIECE", 128)
    np.testing.assert_allclose(colour._halved(row_1S, siting, siting), whole_1S, rtol=0, atol=2e-6)
