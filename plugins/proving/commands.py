"""The commands of the proving ground: ``longtake prove``, ``longtake measure`` and ``longtake tune``."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from ...core.cli.options import asked_config, config_file_of, config_options, json_option
from ...core.cli.progress import silence_models
from ...core.cli.screen import show
from ...core.cli.threads import check_threads, threads_option
from ...core.files.picture import check_picture
from ...core.files.sources import Named, check_apart, sources_of
from ...core.files.whole import check_file, make_folder
from ...core.hookspecs import hookimpl
from .recipe import RECIPES

if TYPE_CHECKING:
    from click import Group

    from ...core.manager import Plugins

CASES = 8  # of each world in the card of a model
STEPS = 8  # of denoising in the table; a row with 25 shows what more would change


@click.group()
def prove() -> None:
    """Prove ideas on a small model whose world has a known truth."""


@prove.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the finished model.")
@click.option("--work", type=click.Path(path_type=Path), required=True, help="Folder for checkpoints and samples.")
@click.option(
    "--recipe",
    "name",
    type=click.Choice(list(RECIPES)),
    default="cpu",
    show_default=True,
    help="cpu: 32x32 pixels, about two hours on two cores. gpu: 64x64, for one large GPU. What follows changes it.",
)
@click.option("--seed", type=click.IntRange(min=0), help="Seed of the weights and of every draw.")
@click.option("--clips", type=click.IntRange(min=1), help="Clips rendered for training.")
@click.option("--vae-steps", type=click.IntRange(min=1), help="Steps of the VAE on single frames.")
@click.option("--decoder-steps", type=click.IntRange(min=1), help="Steps of its decoder on clips.")
@click.option("--unet-steps", type=click.IntRange(min=1), help="Steps of the UNet.")
@click.option("--unet-batch", type=click.IntRange(min=1), help="Clips in a step of the UNet.")
@click.option("--size", type=int, help="Pixels of a side.")
@click.option("--device", help="cpu, or cuda.")
@click.option("--compile/--no-compile", "compiled", default=None, help="Compile the UNet; needs a C++ compiler.")
@click.option("--threads", default=2, show_default=True, type=click.IntRange(min=1), help="CPU threads.")
def train(out: Path, work: Path, name: str, threads: int, **options: Any) -> None:
    """Train the small model, or go on from its last checkpoint in WORK."""
    import torch

    from .export import export
    from .train import train as train_pipeline

    silence_models()
    check_threads(threads)
    make_folder(out)  # says now, not after the work, that it cannot be made
    torch.set_num_threads(threads)
    recipe = replace(RECIPES[name], **{option: value for option, value in options.items() if value is not None})
    export(train_pipeline(recipe, work), recipe, work, out)


@prove.command("card")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--cases", default=CASES, show_default=True, type=click.IntRange(min=1), help="Clips of each world.")
def measure_card(folder: Path, cases: int) -> None:
    """Measure the model in FOLDER again, by the measures of today, and write that into its card."""
    from .export import measure_again

    silence_models()
    click.echo(measure_again(folder, cases))


@prove.command("run")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for finished cells and the table.")
@click.option("--model", default="embedded", show_default=True, help="The small model, or another of its worlds.")
@click.option(
    "--stage",
    type=click.Choice(["screen", "final", "fast", "speed", "techniques", "all"]),
    default="all",
    show_default=True,
    help="Many methods on few clips, what the questions rest on on many, fast clips, what is faster, techniques beyond "
    "one denoising of all frames, or all of it.",
)
@click.option(
    "--frames",
    type=click.IntRange(min=5),
    multiple=True,
    help="Lengths; may be given several times.  [default: those of the stage, of 14 28 56 112]",
)
@click.option("--method", "names", multiple=True, help="Only these methods, by name.  [default: those of the stage]")
@click.option("--seeds", type=click.IntRange(min=1), help="Clips of each world in a cell.  [default: 2, 13, 13, 6, 2]")
@click.option("--steps", default=STEPS, show_default=True, type=click.IntRange(min=1), help="Denoising steps.")
@click.option("--workers", type=click.IntRange(min=1), help="Cells at a time.  [default: one for each core]")
def run(out: Path, workers: int | None, **asked: Any) -> None:
    """Compare methods on the worlds; may be killed at any time and goes on from the cells that are finished."""
    from .run import run_table

    def finished(done: int, cells: int, what: str) -> None:
        click.echo(f"{done} of {cells}: {what}", err=True)

    silence_models()
    click.echo(run_table(out, workers or os.cpu_count() or 1, finished, **asked))


@prove.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="JSON file, such as loops.json.")
@click.option("--model", default="embedded", show_default=True, help="The small model, or another of its worlds.")
@click.option("--frames", default=56, show_default=True, type=click.IntRange(min=15), help="Length.")
@click.option("--seeds", default=13, show_default=True, type=click.IntRange(min=1), help="Clips of each world.")
@click.option("--steps", default=STEPS, show_default=True, type=click.IntRange(min=1), help="Denoising steps.")
@click.pass_obj
def loops(plugins: Plugins, /, output: Path, model: str, frames: int, seeds: int, steps: int) -> None:
    """Measure how well loops close."""
    from ...core.model import load_model
    from .loops import as_table, measure_loops

    silence_models()
    check_file(output, [Named("the model", Path(model))])
    rows = measure_loops(
        load_model(model, device="cpu"), plugins, frames, seeds, steps, output, lambda name: click.echo(name, err=True)
    )
    click.echo(as_table({"rows": rows}))


@prove.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The picture, such as sheet.png.")
@click.option("--model", default="embedded", show_default=True, help="The small model, or another of its worlds.")
@click.option("--frames", default=56, show_default=True, type=click.IntRange(min=2), help="Length.")
@click.option("--method", "names", multiple=True, help="A method, by name.  [default: plain, linear + motion]")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Which clips of the table.")
@click.option("--steps", default=STEPS, show_default=True, type=click.IntRange(min=1), help="Denoising steps.")
@click.pass_obj
def sheet(
    plugins: Plugins, /, output: Path, model: str, frames: int, names: tuple[str, ...], seed: int, steps: int
) -> None:
    """Draw what methods make of a clip of each world, below the truth."""
    from ...core.model import load_model
    from .figures import draw_sheet
    from .stages import choose

    silence_models()
    check_picture(output, [Named("the model", Path(model))])
    methods = choose(names or ["linear + motion"])
    draw_sheet(methods, frames, steps, load_model(model, device="cpu"), plugins, output, seed)
    show(output)


@click.command()
@click.argument("videos", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="VIDEO...")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Draw the measures over time, such as plot.png.")
@click.option("--model", help="A model whose image encoder says how like each other the frames are.")
@json_option("Print JSON instead of a table.")
def measure(videos: tuple[Path, ...], output: Path | None, model: str | None, as_json: bool) -> None:
    """Measure videos without knowing what they should show: files, folders of PNGs, or .npy.

    No measure by itself says that a video is good: a still image is perfect in most.
    """
    from ...core.footage import read_video
    from . import measure_view
    from .consistency import consistency
    from .video_measures import measure_video

    if model:
        silence_models()

    if output:
        read = [Named("the video", path) for path in videos]
        check_picture(output, [*read, *([Named("the model", Path(model))] if model else [])])
    measured = {}
    for path in videos:
        frames = read_video(path)
        measured[str(path)] = measure_video(frames) + (consistency(frames, model) if model else [])
    if output:
        measure_view.draw(measured, output)
    if as_json:
        click.echo(measure_view.as_json(measured))
    else:
        measure_view.print_table(measured)


@click.command()
@click.argument("image", required=False)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder for trials, best.yaml and tune.png."
)
@click.option(
    "--search",
    "searched",
    multiple=True,
    metavar="KEY=LOW..HIGH",
    help="What is searched, such as motion_bucket=20..200, motion.strength=0..1.5 or positional=linear|yarn; may"
    " be given several times.  [default: bounded options of the strategies named, and the motion bucket]",
)
@click.option("--measure", "sought", help="What is sought.  [default: 'unexplained per pixel'; on worlds 'error']")
@click.option(
    "--worlds", type=click.IntRange(min=1), help="Tune on so many clips of each world of known truth instead of IMAGE."
)
@click.option(
    "--trials",
    default=30,
    show_default=True,
    type=click.IntRange(min=1),
    help="Generations, those of earlier runs counted.",
)
@threads_option
@config_options
@click.pass_obj
def tune(
    plugins: Plugins,
    /,
    image: str | None,
    out: Path,
    searched: tuple[str, ...],
    sought: str | None,
    worlds: int | None,
    trials: int,
    **options: Any,
) -> None:
    """Search the options of strategies for the video of IMAGE that does best by a measure.

    It may be stopped at any time and goes on from the trials that are finished. The first trial changes nothing, so the
    best is never worse than what was given. Look at the result: a measure sees only what it measures.
    """
    from ...core.files.reserved import written_by
    from .tuning.tune import tune as tune_config

    def finished(number: int, value: float, values: dict[str, Any]) -> None:
        click.echo(
            f"trial {number}: {value:.4g}  {', '.join(f'{key}={each}' for key, each in values.items())}", err=True
        )

    silence_models()
    read = config_file_of(options)
    config = asked_config(plugins.registry, image, options)
    written = [Named("output", out / name) for name in ("best.yaml", "trials.csv", "trials.log", "tune.png")]
    written += written_by(None, config.preview)
    check_apart(written, [*read, *sources_of(config, plugins)])
    show(tune_config(config, plugins, out, searched, sought, worlds, trials, finished))


@hookimpl
def longtake_register_commands(cli: Group) -> None:
    """Add ``longtake prove``, ``longtake measure`` and ``longtake tune``."""
    cli.add_command(prove)
    cli.add_command(measure)
    cli.add_command(tune)
