"""What the writer of videos takes as a frame: nothing else is written, in any format."""

from __future__ import annotations

import re

import numpy as np
import pytest

from longtake import open_video
from longtake.core.errors import OutputError
from longtake.core.files.video import ENDINGS

GOOD = np.zeros((8, 6, 3), np.uint8)
WRONG = {
    "(8, 6, 3) in float32": np.full((8, 6, 3), np.nan, np.float32),
    "(8, 6, 3) in float64": np.zeros((8, 6, 3)),
    "(8, 6) in uint8": GOOD[..., 0],
    "(8, 6, 4) in uint8": np.zeros((8, 6, 4), np.uint8),
    "(1, 8, 6, 3) in uint8": GOOD[None],
    "(0, 6, 3) in uint8": GOOD[:0],
    "list": GOOD.tolist(),
}


@pytest.mark.parametrize("ending", ("", *ENDINGS))
@pytest.mark.parametrize("got", WRONG)
def test_what_is_no_frame_is_refused_and_leaves_no_file(tmp_path, ending, got):
    said = re.escape(f"a frame must be (H, W, 3) in uint8, got {got}")
    with pytest.raises(OutputError, match=f"^{said}$"), open_video(tmp_path / f"out{ending}", fps=7, frames=2) as file:
        file.write(GOOD)
        file.write(WRONG[got])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", ("", *ENDINGS))
def test_frames_of_changing_size_are_refused(tmp_path, ending):
    said = r"every frame must have the shape of the first one, \(8, 6, 3\), got \(4, 6, 3\)"
    with pytest.raises(OutputError, match=said), open_video(tmp_path / f"out{ending}", fps=7, frames=2) as file:
        file.write(GOOD)
        file.write(GOOD[:4])
    assert not list(tmp_path.iterdir())
