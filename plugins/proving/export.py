"""Write the finished pipeline as a folder that the stock pipeline loads, with its example image, log and card."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...core.errors import LongtakeError
from ...core.facts import OWN_FILE
from ...core.files.whole import whole_file
from ...core.model import load_model
from .card import card, with_motion
from .cases import as_picture
from .check import Scored, measure_pipeline
from .clips import BUCKETS, HELD_OUT_SEED, draw_clip
from .fit import Row, read_log, write_log

if TYPE_CHECKING:
    from diffusers import StableVideoDiffusionPipeline

    from .recipe import Recipe

CARD = "card.md"
STAGES = ("vae", "decoder", "unet")
LOG_ROWS = 60  # per stage
EXAMPLE_SIZE = 256  # pixels; the small model sees it at its own size
EXAMPLE_SEED, EXAMPLE_KIND = HELD_OUT_SEED, "comet"  # never trained on; it stays clear of the border
GUIDANCES = (1.0, 3.0)  # none, and the stock pipeline's default at the last frame


def export(pipeline: StableVideoDiffusionPipeline, recipe: Recipe, work: Path, out: Path, cases: int = 8) -> None:
    """Write everything that belongs to the finished model into ``out``; what is measured is what is written."""
    from diffusers import StableVideoDiffusionPipeline

    save(pipeline, out)
    written = StableVideoDiffusionPipeline.from_pretrained(out)
    measured = measure(written, cases)
    example = draw_clip(EXAMPLE_SEED, EXAMPLE_KIND).world.render(np.zeros(1), EXAMPLE_SIZE)[0]
    as_picture(example).save(out / "example.png", optimize=True)
    rows = thinned_logs(work)
    write_log(rows, out / "training.csv")
    last = {row.stage: row for row in rows}
    made = json.loads((work / "recipe.json").read_text(encoding="utf-8"))["made"]
    text = card(recipe, made, last, measured, written.unet.config.num_frames, written.vae.config.sample_size)
    (out / CARD).write_text(text, encoding="utf-8")


def measure(pipeline: StableVideoDiffusionPipeline, cases: int) -> dict[float, list[Scored]]:
    """Return what a finished model makes of held-out clips, for each guidance of the card."""
    pipeline.set_progress_bar_config(disable=True)
    return {guidance: measure_pipeline(pipeline, cases, guidance=guidance) for guidance in GUIDANCES}


def measure_again(folder: Path, cases: int) -> Path:
    """Measure a finished model again, and write that into its card.

    Raises:
        LongtakeError: the folder holds no model, or it has no card.

    """
    path = folder / CARD
    if not path.exists():
        raise LongtakeError(f"{folder} holds no model made by longtake prove train: it has no {CARD}")
    pipeline = load_model(str(folder), device="cpu").pipeline
    text = with_motion(path.read_text(encoding="utf-8"), measure(pipeline, cases), pipeline.unet.config.num_frames)
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")
    return path


def save(pipeline: StableVideoDiffusionPipeline, out: Path) -> None:
    """Write the folder in half precision, so that the stock pipeline loads it without being told anything.

    The image encoder stays in float32: transformers would load it as it was saved, diffusers loads as float32. Its
    feature extractor keeps the name that every version of transformers knows.
    """
    pipeline.unet.half()
    pipeline.vae.half()
    pipeline.save_pretrained(out)
    (out / OWN_FILE).write_text(json.dumps({"top_motion_bucket": BUCKETS[1]}) + "\n", encoding="utf-8")
    index = out / "model_index.json"
    index.write_text(index.read_text().replace("CLIPImageProcessorPil", "CLIPImageProcessor"))


def thinned_logs(work: Path) -> list[Row]:
    """Return the logs of all stages, each thinned to LOG_ROWS rows or fewer, the last one always among them."""
    rows: list[Row] = []
    for stage in STAGES:
        whole = read_log(work / f"{stage}.csv")
        rows += whole[::-1][:: math.ceil(len(whole) / LOG_ROWS)][::-1]
    return rows
