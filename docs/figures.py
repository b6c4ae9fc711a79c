"""Draw the pictures of the README: ``make docs``.

Everything is generated here and now, with the embedded model and fixed seeds. The world and its seed were picked by
hand after looking at a few; docs/proving-ground.md has the statistics.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import longtake
from longtake.plugins.proving.cases import as_picture
from longtake.plugins.proving.clips import draw_clip
from longtake.plugins.proving.figures import draw_worlds

DOCS = Path(__file__).parent
FRAMES = 56
KIND, SEED = "orbit", 50_003
BUCKET, FPS = 12.0, 5.0  # four times this bucket is the highest that the model was trained on
PLAIN = {"positional": "none", "motion": "constant"}
SIDE = 192  # pixels of a panel
GAP = 8
LABEL = 28
SHOWN_FPS = 20
HELD = 15  # frames for which the last one stands


def compared() -> dict[str, np.ndarray]:
    """Return the truth and two videos from its first frame, (F, H, W, 3) in uint8, by their labels.

    As in the proving ground's table, neither is guided: the small model needs none.
    """
    clip = draw_clip(SEED, KIND, motion_bucket=BUCKET, fps=FPS)
    truth_FHW3 = clip.render(FRAMES)
    first, model = as_picture(truth_FHW3[0]), longtake.load_model()
    request = {"frames": FRAMES, "motion_bucket": BUCKET, "fps": FPS, "seed": 1}
    request["guidance"] = {"name": "constant", "scale": 1}
    videos = {"the truth": np.uint8(np.rint(255 * truth_FHW3))}
    for label, options in {"plain": PLAIN, "longtake": {}}.items():
        videos[label] = longtake.generate(first, model=model, **request, **options).frames
    return videos


def side_by_side(videos: dict[str, np.ndarray], frame: int) -> Image.Image:
    """Return one frame of each video beside the others, enlarged, above its label."""
    width = len(videos) * (SIDE + GAP) - GAP
    picture = Image.new("RGB", (width, SIDE + LABEL), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(16)
    for column, (label, video_FHW3) in enumerate(videos.items()):
        left = column * (SIDE + GAP)
        panel = Image.fromarray(video_FHW3[frame]).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        picture.paste(panel, (left, 0))
        draw.text((left + SIDE / 2, SIDE + LABEL / 2), label, "black", font, anchor="mm")
    return picture


def save_animation(videos: dict[str, np.ndarray], path: Path) -> None:
    """Write the videos in step as an animated WebP that repeats."""
    shown = [side_by_side(videos, frame) for frame in range(FRAMES)]
    duration = [1000 // SHOWN_FPS] * (FRAMES - 1) + [1000 * HELD // SHOWN_FPS]
    shown[0].save(path, save_all=True, append_images=shown[1:], duration=duration, loop=0, quality=80, method=6)


def main() -> None:
    """Draw every picture."""
    save_animation(compared(), DOCS / "truth-plain-longtake.webp")
    draw_worlds(DOCS / "worlds.png")


if __name__ == "__main__":
    main()
