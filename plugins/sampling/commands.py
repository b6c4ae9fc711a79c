"""``longtake extend``: a video that is there already goes on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from ...core.cli.options import asked_config, config_file_of, config_options
from ...core.cli.threads import threads_option
from ...core.contracts import Span
from ...core.errors import ConfigError
from ...core.hookspecs import hookimpl

if TYPE_CHECKING:
    from ...core.manager import Plugins


@hookimpl
def longtake_register_commands(cli: click.Group) -> None:
    """Offer the command."""
    cli.add_command(extend)


@click.command()
@click.argument("video", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="As of longtake generate.")
@click.option("--overwrite", is_flag=True, help="Replace an existing output.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress; print only where the output lies.")
@threads_option
@config_options
@click.pass_obj
def extend(plugins: Plugins, /, video: Path, output: Path, overwrite: bool, quiet: bool, **options: Any) -> None:
    """Continue VIDEO: a file, a folder of PNGs, or an array.

    It grows by --frames, chunk by chunk, each of which goes on from the last frames of the one before. The output has
    the old frames and the new ones.
    """
    from ...core.cli.commands import generate_and_report
    from ...core.facts import read_facts
    from ...core.footage import rate_of, read_video
    from .chain import Chain

    read = config_file_of(options)
    config = asked_config(plugins.registry, None, options)
    if config.frames is None:
        raise click.UsageError("say how many frames the video grows by, such as: --frames 28")
    if config.continues is not None:
        raise click.UsageError(f"{video} is what is continued; leave --continues {config.continues} out")
    facts, sampling = read_facts(config.model, config.trained, config.variant), config.sampling or Chain()
    span = Span(frames=config.frames, trained=facts.trained)
    frames_FHW3 = read_video(video)
    shared = min(sampling.shared(span), len(frames_FHW3))
    if not shared:
        raise ConfigError(f"sampling {sampling.name!r} cannot continue a video; name chain, or none")
    chosen: dict[str, Any] = {"continues": str(video), "sampling": sampling, "frames": config.frames + shared}
    chosen["width"], chosen["height"] = config.width or frames_FHW3.shape[2], config.height or frames_FHW3.shape[1]
    chosen["trained"] = facts.trained if facts.guessed else config.trained  # so that a guess is said once
    chosen["output_fps"] = config.output_fps or rate_of(video)
    generate_and_report(plugins, config.model_copy(update=chosen), output, read, overwrite=overwrite, quiet=quiet)
