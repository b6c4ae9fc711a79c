"""From decoded chunks to a video file.

Shape suffixes: F = frames, H, W = pixel rows, columns, 3 = red, green, blue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..files.video import VideoWriter, open_video

if TYPE_CHECKING:
    from ..config import Config


def write_video(
    chunks: Iterable[np.ndarray],
    output: Path | None,
    config: Config,
    shared: int,
    earlier: np.ndarray | None,
    watch: Callable[[np.ndarray, int], None],
    *,
    keep: bool,
    sound: Path | None = None,
) -> np.ndarray | None:
    """Write decoded chunks to a file as they come; return all frames, (F, H, W, 3) in uint8, if they are to be kept.

    Args:
        chunks: decoded frames, each (chunk, H, W, 3) in uint8.
        output: the file or folder, if any.
        config: resolved.
        shared: how many of the first decoded frames ``earlier`` has already.
        earlier: the video that is continued, which comes first, (F, H, W, 3) in uint8.
        watch: is called with each chunk and the number of its first frame.
        keep: whether the frames are returned.
        sound: a video whose sound the file gets.

    """
    assert config.frames
    first, kept = 0, [] if earlier is None else [earlier]
    frames = config.frames - shared + sum(map(len, kept))
    file = (
        open_video(output, fps=config.output_fps or config.fps, frames=frames, enlarge=config.enlarge, sound=sound)
        if output
        else nullcontext()
    )
    with file as writer:
        _write(writer, earlier if earlier is not None else ())
        for chunk in chunks:
            new = chunk[max(0, shared - first) :]
            _write(writer, new)
            watch(chunk, first)
            first += len(chunk)
            if keep:
                kept.append(new)
    return np.concatenate(kept) if keep else None


def _write(writer: VideoWriter | None, frames: Iterable[np.ndarray]) -> None:
    if writer:
        for frame in frames:
            writer.write(frame)
