"""Pictures of the table: how far videos get, which methods are valid, and what it looks like.

Shape suffixes: F = frames, H, W = rows, columns, 3 = red, green, blue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...core.files.picture import save_figure
from .cases import TABLE_SEED, Case, make
from .clips import BUCKETS, KINDS, draw_clip
from .method import Method
from .report import estimate, pick
from .results import Row
from .worlds.canvas import Array

if TYPE_CHECKING:
    from ...core.manager import Plugins
    from ...core.model import Model

CURVES = ("plain", "linear", "linear + motion", "windows, local, stride 4", "chained by the last frame")
SHOWN_FRAMES = 10  # of each video in a sheet
GAP = 2  # pixels between them


def draw_curves(rows: Sequence[Row], path: Path, methods: Sequence[str] = CURVES) -> None:
    """Draw how far the videos of some methods have moved in each frame; the truth is the diagonal.

    Args:
        rows: of the table; each of its lengths gets a panel.
        path: of the picture.
        methods: by name; those that the rows do not have are left out.

    """
    from matplotlib.figure import Figure

    lengths = sorted({row.frames for row in rows})
    figure = Figure(figsize=(4.2 * len(lengths), 4), layout="constrained")
    for panel, frames in zip(figure.subplots(1, len(lengths), squeeze=False).flat, lengths, strict=True):
        found = pick(rows, frames)
        panel.plot([0, frames - 1], [0, frames - 1], color="0.6", linestyle="--", label="truth")
        for method in methods:
            if method in found:
                panel.plot(np.mean(list(found[method].curves.values()), axis=0), label=method)
        panel.set(title=f"{frames} frames", xlabel="frame", xlim=(0, frames - 1), ylim=(-0.1 * frames, 1.3 * frames))
    figure.axes[0].set_ylabel("distance moved / speed asked for")
    figure.axes[0].legend(frameon=False, fontsize="small")
    save_figure(figure, path)


def draw_shares(rows: Sequence[Row], path: Path, families: Mapping[str, Sequence[Method]]) -> None:
    """Draw the share of valid videos of methods with its interval, a panel for each length, a line between families.

    Args:
        rows: of the table.
        path: of the picture.
        families: methods by what they have in common; those that the rows do not have are left out.

    """
    from matplotlib.figure import Figure

    had = {row.method for row in rows}
    kept = {title: [each.name for each in methods if each.name in had] for title, methods in families.items()}
    names = [name for family in kept.values() for name in family]
    firsts = [0, *accumulate(map(len, kept.values()))][:-1]
    rows = [row for row in rows if row.method in names]
    lengths = sorted({row.frames for row in rows})
    figure = Figure(figsize=(3 + 3.2 * len(lengths), 1 + 0.22 * len(names)), layout="constrained")
    panels = figure.subplots(1, len(lengths), sharey=True, squeeze=False).flat
    for panel, frames in zip(panels, lengths, strict=True):
        found = pick(rows, frames)
        for place, name in enumerate(names):
            share = estimate(found[name], "valid") if name in found else None
            if share:
                panel.plot([share.low, share.high], [place, place], color="C0", linewidth=1)
                panel.plot(share.mean, place, "o", color="C0", markersize=4)
        panel.set(title=f"{frames} frames", xlabel="share of valid videos", xlim=(-0.03, 1.03))
        panel.grid(axis="y", color="0.92")
        for first in firsts:
            panel.axhline(first - 0.5, color="0.5", linewidth=0.8)
    for first, (title, family) in zip(firsts, kept.items(), strict=True):
        if family:
            figure.axes[-1].text(1.06, first, title, size="small", color="0.4", va="center")
    figure.axes[0].set_yticks(range(len(names)), names, fontsize="small")
    figure.axes[0].set_ylim(len(names) - 0.4, -0.6)
    save_figure(figure, path)


def draw_worlds(path: Path, frames: int = 28, seed: int = 0) -> None:
    """Draw the truth of a clip of each world, at the highest speed of the training."""
    first = TABLE_SEED + len(KINDS) * seed
    clips = {kind: draw_clip(first + place, kind, BUCKETS[1], fps=7) for place, kind in enumerate(KINDS)}
    _sheet({kind: {kind: clip.render(frames)} for kind, clip in clips.items()}, path)


def draw_sheet(
    methods: Sequence[Method], frames: int, steps: int, model: Model, plugins: Plugins, path: Path, seed: int = 0
) -> None:
    """Draw, for a clip of each world, the truth and what each method makes of it."""
    blocks = {}
    for kind in KINDS:
        cases = {each.name: Case(kind, seed, frames, each.fast) for each in methods}
        made = {each.name: make(each, cases[each.name], steps, model, plugins).video_FHW3 for each in methods}
        blocks[kind] = {f"{kind}: truth": cases[methods[0].name].clip().render(frames)} | made
    _sheet(blocks, path)


def _sheet(blocks: Mapping[str, Mapping[str, Array]], path: Path) -> None:
    """Draw videos as rows of frames, evenly spaced from the first to the last, one block below the other."""
    from matplotlib.figure import Figure

    strips = [(name, video_FHW3) for block in blocks.values() for name, video_FHW3 in block.items()]
    labels = 0.2 + 0.075 * max(len(name) for name, _ in strips)  # inches beside the strips
    width = 0.8 * SHOWN_FRAMES * (1 + GAP / strips[0][1].shape[2])
    figure = Figure(figsize=(labels + width, 0.8 * len(strips) + 0.3), layout="constrained")
    for place, (panel, (name, video_FHW3)) in enumerate(
        zip(figure.subplots(len(strips), 1, squeeze=False).flat, strips, strict=True)
    ):
        shown_F = np.linspace(0, len(video_FHW3) - 1, SHOWN_FRAMES).round().astype(int)
        frames = [
            np.pad(frame, ((0, 0), (0, GAP), (0, 0)), constant_values=1) for frame in video_FHW3[shown_F].clip(0, 1)
        ]
        panel.imshow(np.concatenate(frames, axis=1), interpolation="nearest")
        panel.set_anchor("E")  # whatever room is left is for the names
        size = video_FHW3.shape[2]
        panel.set_xticks(np.arange(SHOWN_FRAMES) * (size + GAP) + size / 2 - 0.5, shown_F if place == 0 else [])
        panel.xaxis.tick_top()
        panel.tick_params(length=0)
        panel.set_yticks([])
        panel.set_ylabel(name, rotation=0, horizontalalignment="right", verticalalignment="center")
        panel.spines[:].set_visible(False)
    save_figure(figure, path)
