"""The commands of the proving ground: ``longtake prove`` and ``longtake measure``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from ...core.cli_options import json_option
from ...core.hookspecs import hookimpl
from ...core.progress import silence_models
from .recipe import Recipe

if TYPE_CHECKING:
    from click import Group

USUAL = Recipe()
STEPS = 15  # of denoising in the table; the small model gains nothing by more


@click.group()
def prove() -> None:
    """Prove ideas on a small model whose world has a known truth."""


@prove.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the finished model.")
@click.option("--work", type=click.Path(path_type=Path), required=True, help="Folder for checkpoints and samples.")
@click.option("--seed", default=USUAL.seed, show_default=True, help="Seed of the weights and of every draw.")
@click.option("--clips", default=USUAL.clips, show_default=True, help="Clips rendered for training.")
@click.option("--vae-steps", default=USUAL.vae_steps, show_default=True, help="Steps of the VAE on single frames.")
@click.option("--decoder-steps", default=USUAL.decoder_steps, show_default=True, help="Steps of its decoder on clips.")
@click.option("--unet-steps", default=USUAL.unet_steps, show_default=True, help="Steps of the UNet.")
@click.option("--threads", default=1, show_default=True, help="CPU threads.")
@click.option("--compile", "compiled", is_flag=True, help="Compile the UNet: faster, needs a C++ compiler.")
def train(out: Path, work: Path, threads: int, **options: Any) -> None:
    """Train the small model, or go on from its last checkpoint in WORK. Takes about an hour on one core."""
    import torch

    from .export import export
    from .train import train as train_pipeline

    torch.set_num_threads(threads)
    recipe = Recipe(**options)
    export(train_pipeline(recipe, work), recipe, work, out)


@prove.command("run")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for finished cells and the table.")
@click.option("--model", default="embedded", show_default=True, help="The small model, or another of its worlds.")
@click.option(
    "--stage",
    type=click.Choice(["screen", "final", "all"]),
    default="all",
    show_default=True,
    help="Everything on few clips, what the questions rest on on many, or both.",
)
@click.option("--frames", type=int, multiple=True, help="Lengths; may be given several times.  [default: 14 28 56 112]")
@click.option("--method", "names", multiple=True, help="Only these methods, by name.  [default: those of the stage]")
@click.option("--seeds", type=click.IntRange(min=1), help="Clips of each world in a cell.  [default: 2, then 13]")
@click.option("--steps", default=STEPS, show_default=True, type=click.IntRange(min=1), help="Denoising steps.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(min=1), help="Cells at a time.")
def run(out: Path, workers: int, **asked: Any) -> None:
    """Compare methods on the worlds; may be killed at any time and goes on from the cells that are finished."""
    from .run import run_table

    def finished(done: int, cells: int, what: str) -> None:
        click.echo(f"{done} of {cells}: {what}", err=True)

    click.echo(run_table(out, workers, finished, **asked))


@click.command()
@click.argument("videos", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="VIDEO...")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Draw the measures over time, such as plot.png.")
@click.option("--model", help="A model whose image encoder says how like each other the frames are.")
@json_option("Print JSON instead of a table.")
def measure(videos: tuple[Path, ...], output: Path | None, model: str | None, as_json: bool) -> None:
    """Measure videos without knowing what they should show: files, folders of PNGs, or .npy.

    No measure by itself says that a video is good: a still image is perfect in most.
    """
    from . import measure_view
    from .consistency import consistency
    from .video_measures import measure_video

    if model:
        silence_models()

    measured = {}
    for path in videos:
        frames = measure_view.read_video(path)
        measured[str(path)] = measure_video(frames) + (consistency(frames, model) if model else [])
    if output:
        measure_view.draw(measured, output)
    if as_json:
        click.echo(measure_view.as_json(measured))
    else:
        measure_view.print_table(measured)


@hookimpl
def longtake_register_commands(cli: Group) -> None:
    """Add ``longtake prove`` and ``longtake measure``."""
    cli.add_command(prove)
    cli.add_command(measure)
