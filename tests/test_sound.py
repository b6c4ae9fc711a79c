"""The sound of a continued video: copied or encoded anew, as long as the pictures, or left out with a warning."""

from __future__ import annotations

import av
import numpy as np
import pytest
from clips import heard, make_clip, yuv_frame

from longtake import open_video
from longtake.core.files.sound import sound_for
from longtake.core.footage import rate_of, read_video

PICTURES = [yuv_frame((100, 128, 128), height=24, width=32) for _ in range(10)]  # one second


def copied_packets(path) -> list[bytes]:
    with av.open(path) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


@pytest.mark.parametrize(
    ("source", "codec", "rate"),
    [("mp4", "aac", 44_100), ("webm", "libopus", 48_000), ("mp4", "libmp3lame", 44_100), ("mkv", "flac", 22_050)],
)
@pytest.mark.parametrize("ending", ["mp4", "webm"])
@pytest.mark.parametrize("seconds", [0.5, 3])
def test_sound_is_as_long_as_the_pictures(tmp_path, source, codec, rate, ending, seconds):
    video = "libvpx-vp9" if source == "webm" else "libx264"
    clip = make_clip(tmp_path / f"a.{source}", PICTURES, codec=video, options={}, sound=(codec, rate, seconds))
    output = tmp_path / f"b.{ending}"
    assert sound_for(output, clip, 10) == clip
    with open_video(output, fps=10, frames=20, sound=clip) as writer:
        for _ in range(20):
            writer.write(np.zeros((24, 32, 3), np.uint8))
    samples, rate_out, codec_out = heard(output)
    assert codec_out == {"mp4": "aac", "webm": "opus"}[ending]
    assert samples.shape[1] / rate_out == pytest.approx(2, abs=0.05)
    loud = np.flatnonzero(np.abs(samples[0]) > 0.02) / rate_out
    assert loud[0] < 0.03
    assert loud[-1] == pytest.approx(min(seconds, 2), abs=0.05)
    middle = samples[:, round(0.1 * rate_out) : round(0.4 * rate_out)]
    assert np.sqrt((middle**2).mean(1)) == pytest.approx([0.354, 0.177], rel=0.1)  # loudness of left and right
    spectrum = np.abs(np.fft.rfft(middle[0] * np.hanning(middle.shape[1])))
    assert spectrum.argmax() * rate_out / middle.shape[1] == pytest.approx(440, abs=4)
    assert read_video(output).shape[0] == 20
    assert rate_of(output) == pytest.approx(10)
    before, after = copied_packets(clip), copied_packets(output)
    shared = min(len(before), len(after)) - 1
    same = (source, codec, ending) in (("mp4", "aac", "mp4"), ("webm", "libopus", "webm"))
    assert (before[:shared] == after[:shared] or (seconds < 2 and before == after[: len(before)])) == same


@pytest.mark.parametrize("name", ["b.gif", "b.webp", "b.npy", "b"])
def test_what_cannot_hold_sound_says_so(tmp_path, caplog, name):
    clip = make_clip(tmp_path / "a.mp4", PICTURES, sound=("aac", 44_100, 1))
    assert sound_for(tmp_path / name, clip, 10) is None
    assert f"the sound of {clip} is left out: {name} cannot hold any; .mp4 and .webm can" in caplog.text


def test_another_frame_rate_leaves_the_sound_out_and_says_so(tmp_path, caplog):
    clip = make_clip(tmp_path / "a.mp4", PICTURES, sound=("aac", 44_100, 1))
    assert sound_for(tmp_path / "b.mp4", clip, 25) is None
    assert "the output is shown at 25 frames per second, the video at 10" in caplog.text


def test_a_missing_encoder_leaves_the_sound_out_and_says_so(tmp_path, caplog, monkeypatch):
    clip = make_clip(tmp_path / "a.mp4", PICTURES, sound=("aac", 44_100, 1))
    monkeypatch.setattr(av, "codecs_available", {"aac"})
    assert sound_for(tmp_path / "b.webm", clip, 10) is None
    assert "this FFmpeg has no encoder libopus" in caplog.text


def test_a_silent_clip_is_nothing_to_speak_of(tmp_path, caplog):
    assert sound_for(tmp_path / "b.gif", make_clip(tmp_path / "a.mp4", PICTURES), 10) is None
    assert sound_for(tmp_path / "b.mp4", tmp_path, 10) is None
    np.save(tmp_path / "a.npy", np.zeros((2, 24, 32, 3), np.uint8))
    assert sound_for(tmp_path / "b.mp4", tmp_path / "a.npy", 10) is None
    assert not caplog.text


@pytest.mark.parametrize("output", ["b.mp4", "b.webm"])
def test_damaged_sound_goes_silent_and_the_pictures_stay(tmp_path, output):
    clip = make_clip(tmp_path / "a.mkv", PICTURES, sound=("flac", 44_100, 1))
    data = bytearray(clip.read_bytes())
    begin = len(data) // 2
    data[begin : begin + len(data) // 4] = bytes(len(data) // 4)
    clip.write_bytes(data)
    with open_video(tmp_path / output, fps=10, frames=10, sound=clip) as writer:
        for _ in range(10):
            writer.write(np.zeros((24, 32, 3), np.uint8))
    samples, rate, _ = heard(tmp_path / output)
    assert samples.shape[1] / rate == pytest.approx(1, abs=0.05)
    assert len(read_video(tmp_path / output)) == 10


def test_extend_keeps_the_sound_of_a_clip(cli, folder):
    make_clip(folder / "a.mp4", PICTURES, sound=("aac", 44_100, 1))
    done = cli("extend", "a.mp4", "--model", "{tiny}", "--steps", "1", "--frames", "5", "-o", "b.mp4")
    assert "sound" not in done.stderr
    samples, rate, _ = heard(folder / "b.mp4")
    assert samples.shape[1] / rate == pytest.approx(1.5, abs=0.05)
    assert copied_packets(folder / "b.mp4")[:20] == copied_packets(folder / "a.mp4")[:20]
    done = cli("extend", "a.mp4", "--model", "{tiny}", "--steps", "1", "--frames", "5", "-o", "b.npy")
    assert "the sound of a.mp4 is left out: b.npy cannot hold any" in done.stderr
