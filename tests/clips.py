"""Video files as others make them, for the tests: any codec, tags, rotation, sound."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

Tone = tuple[str, int, float]  # audio codec, samples a second, seconds


def make_clip(
    path: Path,
    frames: list[av.VideoFrame],
    *,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    turned: dict[str, Any] | None = None,
    aspect: Fraction | None = None,
    times: list[int] | None = None,
    fps: int = 10,
    sound: Tone | None = None,
) -> Path:
    """Write frames as they are, one tenth of a second each unless ``times`` says in which tenth each begins."""
    with av.open(path, "w") as container:
        first = frames[0]
        stream: Any = container.add_stream(codec, rate=fps, options=options or {"qp": "1"})
        stream.width, stream.height, stream.pix_fmt = first.width, first.height, first.format.name
        context = stream.codec_context
        context.colorspace, context.color_range = first.colorspace, first.color_range
        context.color_primaries, context.color_trc = first.color_primaries, first.color_trc
        if turned:
            stream.set_display_rotation(**turned)
        if aspect:
            stream.sample_aspect_ratio = aspect
        track = container.add_stream(sound[0], rate=sound[1], layout="stereo") if sound else None
        for number, frame in enumerate(frames):
            frame.time_base, frame.pts = Fraction(1, fps), times[number] if times else number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if track and sound:
            for piece in _tone(sound[1], sound[2]):
                container.mux(track.encode(piece))
            container.mux(track.encode())
    return path


def _tone(rate: int, seconds: float) -> list[av.AudioFrame]:
    """Return 440 Hz on the left, half as loud on the right."""
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(rate * seconds)) / rate)
    pieces = []
    for begin in range(0, len(wave), 1024):
        part = wave[begin : begin + 1024]
        frame = av.AudioFrame.from_ndarray(np.float32([part, part / 2]), "fltp", "stereo")
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), begin
        pieces.append(frame)
    return pieces


def yuv_frame(values: tuple[int, int, int], *, height: int = 16, width: int = 16, pixels: str = "yuv420p") -> Any:
    """Return a frame of one colour, its numbers Y, Cb and Cr."""
    frame: Any = av.VideoFrame(width, height, pixels)
    kind = np.uint16 if "10le" in pixels else np.uint8
    for plane, value in zip(frame.planes, values, strict=True):
        plane.update(np.full(plane.buffer_size // np.dtype(kind).itemsize, value, kind).tobytes())
    return frame


def heard(path: Path) -> tuple[np.ndarray, int, str]:
    """Return the sound of a file, (channels, samples), samples a second, and the codec."""
    with av.open(path) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler("fltp", "stereo", stream.rate)
        parts = [part.to_ndarray() for frame in container.decode(stream) for part in resampler.resample(frame)]
        return np.concatenate(parts, axis=1), stream.rate, stream.codec_context.name
