"""What Chromium shows of our video files is what was written, seen in screenshots of known patches."""

from __future__ import annotations

import functools
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from clips import make_clip
from PIL import Image

from longtake import open_video
from longtake.core.files.colour import BT601, YuvWriter

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed; the colours it shows are not tested")

OPTIONS = [
    "--headless", "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars",
    "--force-color-profile=srgb", "--window-size=1400,900", "--virtual-time-budget=5000",
]  # fmt: skip
# Without a GPU, Chromium converts by coefficients of few bits: those of BT.601 are right to 2 levels, and those of
# BT.709 in blue only to 12. With one, here in software, it is exact.
PLAIN = ["--disable-gpu"]
GPU = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
PATCHES = [
    (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (128, 128, 128),
    (60, 160, 60), (200, 120, 80), (30, 60, 160), (250, 220, 40), (16, 16, 16), (235, 235, 235),
]  # fmt: skip


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def address(tmp_path) -> Iterator[str]:
    server = ThreadingHTTPServer(("localhost", 0), functools.partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()
    server.server_close()


def patches(side: int) -> np.ndarray:
    """Return three rows of four patches."""
    return np.uint8(PATCHES).reshape(3, 4, 3).repeat(side, axis=0).repeat(side, axis=1)


def shown(folder: Path, address: str, name: str, options: list[str]) -> np.ndarray:
    """Return a screenshot, (H, W, 3), of a page that shows a file of the folder and nothing else."""
    tag = "img" if name.endswith((".gif", ".webp")) else "video muted preload=auto"
    (folder / "page.html").write_text(f"<style>* {{ margin: 0 }}</style><{tag} src='{name}'></{tag}>")
    picture = folder / "shot.png"
    run = [str(BROWSER), *OPTIONS, *options, f"--user-data-dir={folder / 'profile'}", f"--screenshot={picture}"]
    subprocess.run([*run, f"{address}/page.html"], capture_output=True, check=True, timeout=120)
    return np.asarray(Image.open(picture).convert("RGB")).astype(int)


def centres(screenshot: np.ndarray, side: int) -> np.ndarray:
    return screenshot[side // 2 : 3 * side : side, side // 2 : 4 * side : side].reshape(-1, 3)


@pytest.mark.parametrize(
    ("ending", "side", "options", "exact"),
    [
        (".mp4", 32, PLAIN, 2), (".webm", 32, PLAIN, 2), (".webp", 32, PLAIN, 3), (".gif", 32, PLAIN, 0),
        (".mp4", 32, GPU, 1), (".webm", 32, GPU, 1), (".mp4", 240, GPU, 1), (".webm", 240, GPU, 1),
    ],
)  # fmt: skip
def test_patches_have_the_colours_that_were_written(tmp_path, address, ending, side, options, exact):
    """In both sizes: those of BT.601 and of BT.709."""
    with open_video(tmp_path / f"a{ending}", fps=7, frames=2) as writer:
        for _ in range(2):
            writer.write(patches(side))
    seen = centres(shown(tmp_path, address, f"a{ending}", options), side)
    assert np.abs(seen - PATCHES).max() <= exact, seen.tolist()


def test_a_clip_that_is_turned_is_shown_as_it_is_read(tmp_path, address):
    """The reading of display matrices in test_colours.py is that of a browser."""
    frame = YuvWriter(BT601, "left")(patches(32))
    make_clip(tmp_path / "a.mp4", [frame] * 2, turned={"degrees": 90})
    seen = shown(tmp_path, address, "a.mp4", PLAIN)[16:128:32, 16:96:32]
    assert np.abs(seen - np.rot90(np.array(PATCHES).reshape(3, 4, 3))).max() <= 2
