"""Draw the pictures of the documentation: ``make docs``.

Everything is generated here and now, with the embedded model and fixed seeds. The start image, whose comet does not
cross the border, and the motion bucket were picked by hand after looking at a few.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import longtake
from longtake.plugins.proving.clips import draw_clip
from longtake.plugins.proving.export import EXAMPLE_KIND, EXAMPLE_SEED
from longtake.plugins.proving.figures import draw_worlds

DOCS = Path(__file__).parent
FRAMES = 56
SHOWN = 9
SCALE = 3
LABEL = 22
BUCKET = 12.0  # a hundred times the pixels per frame; four times as much is the most that the model was trained on
ROWS = {
    "plain: positions 0 ... 55, as in diffusers' pipeline": {"positional": "none", "motion": "constant"},
    "longtake: what it chooses for 56 frames": {},
}


def contact_sheet(rows: dict[str, np.ndarray], scale: int, shown: int) -> Image.Image:
    """Return evenly spaced frames of each video in a row, (F, H, W, 3) in uint8, under its label."""
    count, height, width, _ = next(iter(rows.values())).shape
    picked = np.linspace(0, count - 1, shown).round().astype(int)
    tile = (width * scale, height * scale)
    sheet = Image.new("RGB", (shown * (tile[0] + 4) - 4, len(rows) * (tile[1] + LABEL + 16) + 4), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for row, (label, frames) in enumerate(rows.items()):
        top = row * (tile[1] + LABEL + 16)
        draw.text((2, top + 2), label, "black", font)
        for column, frame in enumerate(picked):
            left = column * (tile[0] + 4)
            sheet.paste(Image.fromarray(frames[frame]).resize(tile, Image.Resampling.NEAREST), (left, top + LABEL))
            draw.text((left + 2, top + LABEL + tile[1]), f"frame {frame}", "gray", ImageFont.load_default(10))
    return sheet


def main() -> None:
    """Draw every picture."""
    clip = draw_clip(EXAMPLE_SEED, EXAMPLE_KIND, motion_bucket=BUCKET, fps=7)
    label = "truth: the formula of the world that the model was trained on, 14 frames at a time"
    videos = {label: np.uint8(255 * clip.render(FRAMES))}
    asked = {"frames": FRAMES, "motion_bucket": BUCKET, "seed": 1}
    for label, options in ROWS.items():
        videos[label] = longtake.generate("example", **asked, **options).frames
    contact_sheet(videos, SCALE, SHOWN).save(DOCS / "plain-and-longtake.png")
    draw_worlds(DOCS / "worlds.png")


if __name__ == "__main__":
    main()
