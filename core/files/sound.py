"""The sound of a video that is continued: copied where the container takes it as it is, encoded anew otherwise.

Shape suffixes: C = channels, S = samples.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from .clip import rate_of_clip

logger = logging.getLogger("longtake")

# The audio codec of each container, its name as an encoder, and a bit rate at which it cannot be told from the source.
CODECS = {".mp4": ("aac", "aac", 192_000), ".webm": ("opus", "libopus", 160_000)}


def sound_for(output: Path, video: Path, fps: float) -> Path | None:
    """Return the video if the output gets its sound, None if it has none, or if it cannot be kept: that is logged.

    Args:
        output: a video file, a folder, or an array; its ending says whether it can hold sound.
        video: that is continued.
        fps: frames per second of the output; at another rate than the video's, sound and pictures would part.

    """
    if not _has_sound(video):
        return None
    rate = rate_of_clip(video) or fps
    holder = CODECS.get(output.suffix.lower())
    if holder is None:
        reason = f"{output.name} cannot hold any; {' and '.join(CODECS)} can"
    elif holder[1] not in av.codecs_available:
        reason = f"this FFmpeg has no encoder {holder[1]}"
    elif not _is_decodable(video):
        reason = "this FFmpeg cannot read its codec"
    elif abs(rate - fps) > 0.01 * rate:
        reason = f"the output is shown at {fps:g} frames per second, the video at {rate:g}"
    else:
        return video
    logger.warning("the sound of %s is left out: %s", video, reason)
    return None


def _has_sound(video: Path) -> bool:
    try:
        if not video.is_file():
            return False
        with av.open(video) as container:
            return bool(container.streams.audio and container.streams.video)
    except (av.FFmpegError, OSError, ValueError):
        return False  # an array, or a file whose reading says what is wrong with it


def _is_decodable(video: Path) -> bool:
    with av.open(video) as container:
        return container.streams.audio[0].codec_context is not None


class Track:
    """An audio stream of a file that is written: the sound of another file, cut or padded with silence."""

    def __init__(self, container: Any, video: Path, seconds: float) -> None:
        """Add the stream.

        Args:
            container: to be written; its header has not been written yet.
            video: file whose sound it is.
            seconds: length that it gets.

        """
        self.video = video
        self.source: Any = av.open(video)
        self.heard = self.source.streams.audio[0]
        self.seconds = seconds
        pictures = self.source.streams.video[0]
        self.begin = float((pictures.start_time or 0) * pictures.time_base)
        codec, encoder, bits = CODECS[f".{container.format.name}"]
        context = self.heard.codec_context
        self.rate = 48_000 if codec == "opus" else context.sample_rate
        self.layout = "mono" if context.channels == 1 else "stereo"
        copied = context.name == codec and context.channels <= 2 and (codec != "aac" or context.profile == "LC")
        if copied:
            self.stream = container.add_stream_from_template(self.heard)
            self.packets = self._copied(encoder)
        else:
            self.stream = container.add_stream(encoder, rate=self.rate, layout=self.layout, bit_rate=bits)
            self.packets = self._encoded(self.stream.codec_context, chain(self._samples(), [None]))
        self.waiting: Any = None

    def until(self, seconds: float) -> Iterator[Any]:
        """Give the packets up to a time that have not been given yet."""
        while True:
            if self.waiting is None:
                self.waiting = next(self.packets, None)
            if self.waiting is None or float(self.waiting.pts * self.waiting.time_base) >= seconds:
                return
            packet, self.waiting = self.waiting, None
            packet.stream = self.stream
            yield packet

    def close(self) -> None:
        """Close the file that the sound comes from."""
        self.source.close()

    def _copied(self, encoder: str) -> Iterator[Any]:
        """Give the source's packets up to the end, and packets of silence if they are too few."""
        end = 0.0
        for packet in self._until_damaged(packet for packet in self.source.demux(self.heard) if packet.pts is not None):
            begin = float(packet.pts * packet.time_base) - self.begin
            if begin >= self.seconds:
                return
            packet.pts = packet.dts = round(begin / packet.time_base)
            end = begin + float(packet.duration * packet.time_base)
            yield packet
        context: Any = av.CodecContext.create(encoder, "w")
        context.sample_rate, context.layout, context.format = self.rate, self.layout, context.codec.audio_formats[0]
        place = round(end * self.rate)
        for packet in self._encoded(context, chain(self._silence(self.seconds - end), [None])):
            if place >= self.seconds * self.rate:
                return
            packet.pts = packet.dts = place
            place += round(packet.duration * packet.time_base * self.rate)
            yield packet

    def _encoded(self, context: Any, pieces_CS: Iterable[NDArray[np.float32] | None]) -> Iterator[Any]:
        count = 0
        for piece_CS in pieces_CS:
            frame = None
            if piece_CS is not None:
                frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece_CS), "fltp", self.layout)
                frame.sample_rate, frame.time_base, frame.pts = self.rate, Fraction(1, self.rate), count
                count += piece_CS.shape[1]
            yield from context.encode(frame)

    def _samples(self) -> Iterator[NDArray[np.float32]]:
        """Give the sound from the first picture on, for as long as the output lasts."""
        left = round(self.seconds * self.rate)
        resampler, first = AudioResampler("fltp", self.layout, self.rate), True
        for frame in self._until_damaged(self.source.decode(self.heard)):
            for part in resampler.resample(frame):
                samples_CS: Any = part.to_ndarray()
                if first:
                    delay = round((float(part.time or 0) - self.begin) * self.rate)
                    samples_CS = np.pad(samples_CS, ((0, 0), (max(delay, 0), 0)))[:, max(-delay, 0) :]
                first = False
                samples_CS = samples_CS[:, :left]
                left -= samples_CS.shape[1]
                if samples_CS.size:
                    yield samples_CS
            if not left:
                return
        yield from self._silence(left / self.rate)

    def _silence(self, seconds: float) -> Iterator[NDArray[np.float32]]:
        channels = 1 if self.layout == "mono" else 2
        for left in range(math.ceil(seconds * self.rate), 0, -self.rate):
            yield np.zeros((channels, min(left, self.rate)), np.float32)

    def _until_damaged(self, things: Iterable[Any]) -> Iterator[Any]:
        try:
            yield from things
        except av.FFmpegError as error:
            logger.warning("the sound of %s is damaged and goes silent where it cannot be read: %s", self.video, error)
