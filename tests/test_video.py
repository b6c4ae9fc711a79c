"""Video files: exact where the format is, right in codec, count and rate where it is not, and whole or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageSequence

from longtake import open_video
from longtake.core.errors import OutputError
from longtake.core.files.encoders import Encoder, encoder_for
from longtake.core.files.video import ENDINGS, check_output

FORMATS = ("", *ENDINGS)
sides = st.integers(1, 40)


def colours(frames: int, height: int, width: int) -> np.ndarray:
    """Return a smooth moving picture, (F, H, W, 3), that every codec keeps well."""
    frame, row, column = np.mgrid[0:frames, 0:height, 0:width]
    waves = [np.sin((row + 2 * frame) / 9), np.cos((column + frame) / 11), np.sin((row - column) / 13)]
    return np.uint8(128 + 80 * np.stack(waves, axis=-1))


def write(path: Path, video: np.ndarray, *, fps: float = 7, enlarge: int = 1) -> Path:
    with open_video(path, fps=fps, frames=len(video), enlarge=enlarge) as writer:
        for frame in video:
            writer.write(frame)
    return path


def read_exact(path: Path) -> np.ndarray:
    """Read a .npy, or a folder of PNGs in the order of their names."""
    if path.is_dir():
        return np.stack([np.asarray(Image.open(file)) for file in sorted(path.iterdir())])
    return np.load(path)


def read_stream(path: Path) -> tuple[np.ndarray, av.VideoStream]:
    """Read frames and the facts of the stream with FFmpeg."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]), stream


@settings(max_examples=25)
@given(
    ending=st.sampled_from(["", ".npy"]),
    frames=st.integers(1, 12),
    height=sides,
    width=sides,
    enlarge=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_exact_formats_give_back_every_pixel(ending, frames, height, width, enlarge, seed):
    video = np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        read = read_exact(write(Path(folder, "out" + ending), video, enlarge=enlarge))
        assert os.listdir(folder) == ["out" + ending]
    assert read.dtype == np.uint8
    assert np.array_equal(read, video.repeat(enlarge, axis=1).repeat(enlarge, axis=2))


def test_names_of_pngs_sort_in_the_order_of_the_frames(tmp_path):
    write(tmp_path / "out", colours(11, 2, 2))
    names = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert names == [f"frame_{number:05d}.png" for number in range(11)]


@pytest.mark.parametrize(
    ("ending", "codec", "pixels"), [(".mp4", "h264", "yuv420p"), (".webm", "vp9", "yuv420p"), (".gif", "gif", "bgra")]
)
@pytest.mark.parametrize(("height", "width"), [(64, 96), (33, 47), (1, 1)])
def test_streams_have_the_right_codec_size_count_and_pictures(tmp_path, ending, codec, pixels, height, width):
    video = colours(9, height, width)
    read, stream = read_stream(write(tmp_path / f"out{ending}", video))
    assert stream.codec_context.name == codec
    assert stream.pix_fmt == pixels
    even = 2 if pixels == "yuv420p" else 1
    padding = ((0, 0), (0, height % even), (0, width % even), (0, 0))
    expected = np.pad(video, padding, mode="edge")
    assert read.shape == expected.shape
    # A gif has 256 colours for each picture, dithered.
    assert np.abs(read.astype(float) - expected).mean() < (10 if ending == ".gif" else 6)


@pytest.mark.parametrize("fps", [1, 7, 7.5, 23.976, 60])
@pytest.mark.parametrize("ending", [".mp4", ".webm"])
def test_the_rate_is_the_one_asked_for(tmp_path, ending, fps):
    read, stream = read_stream(write(tmp_path / f"out{ending}", colours(6, 16, 16), fps=fps))
    assert len(read) == 6
    assert stream.average_rate == Fraction(fps).limit_denominator(1000)


@pytest.mark.parametrize("ending", [".gif", ".webp"])
@pytest.mark.parametrize(("fps", "milliseconds"), [(5, 200), (7, 143), (25, 40)])
def test_animations_last_as_long_as_asked_and_run_for_ever(tmp_path, ending, fps, milliseconds):
    with Image.open(write(tmp_path / f"out{ending}", colours(6, 33, 48), fps=fps)) as picture:
        assert picture.n_frames == 6
        durations = []
        for _ in ImageSequence.Iterator(picture):
            picture.load()
            durations.append(picture.info["duration"])
        assert picture.info["loop"] == 0
    # Gif counts in hundredths of a second.
    assert max(abs(duration - milliseconds) for duration in durations) <= 10
    assert abs(sum(durations) - 6 * milliseconds) <= 12


def test_a_webp_holds_the_pictures(tmp_path):
    video = colours(5, 33, 47)
    with Image.open(write(tmp_path / "out.webp", video)) as picture:
        read = np.stack([np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(picture)])
    assert read.shape == (5, 34, 48, 3)
    assert np.abs(read[:, :33, :47].astype(float) - video).mean() < 6


def test_an_ending_in_capitals_is_the_same_format(tmp_path):
    read, stream = read_stream(write(tmp_path / "OUT.MP4", colours(3, 16, 16)))
    assert len(read) == 3
    assert stream.codec_context.name == "h264"


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("written", [0, 1, 3])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_in_the_middle_leaves_nothing_behind(tmp_path, ending, written, error):
    def fail() -> None:
        with open_video(tmp_path / f"out{ending}", fps=7, frames=4) as writer:
            for frame in colours(written, 15, 20):
                writer.write(frame)
            raise error("stop")

    with pytest.raises(error, match="stop"):
        fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", FORMATS)
def test_an_older_output_stays_until_the_new_one_is_whole(tmp_path, ending):
    output = write(tmp_path / f"out{ending}", colours(3, 16, 16))
    old = {file: file.read_bytes() for file in [output, *output.glob("*")] if file.is_file()}
    with pytest.raises(RuntimeError), open_video(output, fps=7, frames=5) as writer:
        writer.write(colours(1, 16, 16)[0])
        raise RuntimeError
    assert {file: file.read_bytes() for file in old} == old
    write(output, colours(5, 24, 24))
    assert list(tmp_path.iterdir()) == [output]
    assert {file: file.read_bytes() for file in old if file.exists()} != old


@pytest.mark.parametrize("ending", FORMATS)
def test_no_space_left_is_said_with_the_name_of_the_output(tmp_path, monkeypatch, ending):
    encoder = type(encoder_for(ending, tmp_path / f"probe{ending}", 7, 1))
    whole_write = encoder.write

    def full(self: Encoder, frame: np.ndarray) -> None:
        if frame[0, 0, 0] == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        whole_write(self, frame)

    monkeypatch.setattr(encoder, "write", full)
    video = np.stack([np.full((16, 16, 3), number, np.uint8) for number in (0, 1)])
    output = tmp_path / f"out{ending}"
    with pytest.raises(OutputError, match=f"^cannot write {output}: No space left on device$"):
        write(output, video)
    assert not output.exists()
    assert {path.name for path in tmp_path.iterdir()} == {f"probe{ending}"}


def test_what_goes_wrong_elsewhere_is_not_blamed_on_the_output(tmp_path):
    with pytest.raises(FileNotFoundError, match="own/file"), open_video(tmp_path / "a.npy", fps=7, frames=2):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "/plugin/own/file")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", [".mp4", ".webm", ".gif", ".webp"])
def test_the_same_frames_give_the_same_pictures_every_time(tmp_path, ending):
    """x264 with its usual settings does not, at some sizes."""
    video = np.random.default_rng(0).integers(0, 256, (12, 128, 224, 3), dtype=np.uint8)
    video[4:] = colours(8, 128, 224)
    decoded = set()
    for number in range(8 if ending == ".mp4" else 3):
        path = write(tmp_path / f"{number}{ending}", video)
        pictures = (
            np.stack([np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(Image.open(path))])
            if ending in (".gif", ".webp")
            else read_stream(path)[0]
        )
        decoded.add(pictures.tobytes())
    assert len(decoded) == 1


def test_a_name_with_a_colon_is_a_name(tmp_path):
    assert write(tmp_path / "a:b.mp4", colours(3, 16, 16)).stat().st_size > 100


# What happens when a file may not grow any further, as on a full disk: the system refuses in the middle of the encoder.
FULL = """
import resource, sys
from pathlib import Path
import numpy as np
from longtake import LongtakeError, open_video
noise = np.random.default_rng(0).integers(0, 256, (20, 128, 128, 3), dtype=np.uint8)
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
try:
    with open_video(Path(sys.argv[1]), fps=7, frames=20) as writer:
        for frame in noise:
            writer.write(frame)
except LongtakeError as error:
    print(error)
"""


@pytest.mark.parametrize("ending", FORMATS)
def test_a_file_that_may_not_grow_is_one_sentence_and_leaves_nothing(tmp_path, ending):
    output = tmp_path / f"out{ending}"
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(output)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"cannot write {output}: File too large\n"
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_a_npy_grows_with_its_frames_so_that_a_full_disk_is_an_error_and_no_crash(tmp_path):
    with open_video(tmp_path / "out.npy", fps=7, frames=1000) as writer:
        writer.write(np.zeros((64, 64, 3), np.uint8))
        (part,) = tmp_path.glob("*.part-*")
        assert part.stat().st_size <= 64 * 64 * 3 + 1000
        for _ in range(999):
            writer.write(np.zeros((64, 64, 3), np.uint8))
    assert np.load(tmp_path / "out.npy", mmap_mode="r").shape == (1000, 64, 64, 3)


def refuse_ending(folder: Path) -> Path:
    return folder / "out.avi"


def refuse_missing_folder(folder: Path) -> Path:
    return folder / "nowhere" / "out.mp4"


def refuse_file_as_folder(folder: Path) -> Path:
    (folder / "file").touch()
    return folder / "file" / "out.mp4"


def refuse_existing(folder: Path) -> Path:
    (folder / "out.mp4").touch()
    return folder / "out.mp4"


def refuse_existing_record(folder: Path) -> Path:
    (folder / "out.mp4.json").touch()
    return folder / "out.mp4"


@pytest.mark.parametrize(
    ("arrange", "message"),
    [
        (refuse_ending, r"out\.avi has an ending that is not known; known: \.mp4, .*folder of PNGs"),
        (refuse_missing_folder, r"nowhere does not exist; make it first"),
        (refuse_file_as_folder, r"file is a file, not a folder"),
        (refuse_existing, r"out\.mp4 exists; say --overwrite"),
        (refuse_existing_record, r"out\.mp4\.json exists; say --overwrite"),
    ],
)
def test_an_output_that_cannot_be_written_is_known_beforehand(tmp_path, arrange: Callable[[Path], Path], message: str):
    output = arrange(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError, match=message):
        check_output(output, overwrite=False)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_is_replaced_only_when_it_holds_nothing_but_frames(tmp_path):
    output = write(tmp_path / "out", colours(2, 8, 8))
    check_output(output, overwrite=True)
    (output / "thesis.tex").touch()
    with pytest.raises(OutputError, match="holds other things than frames; it is not replaced"):
        check_output(output, overwrite=True)
    assert (output / "thesis.tex").exists()


def test_a_file_is_not_replaced_by_a_folder(tmp_path):
    (tmp_path / "out").write_text("precious")
    with pytest.raises(OutputError, match="is a file and cannot become a folder of PNGs"):
        check_output(tmp_path / "out", overwrite=True)
    assert (tmp_path / "out").read_text() == "precious"
