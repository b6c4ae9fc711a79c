"""``longtake decode``: a video from latents that were kept because it could not be written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from .options import no_plugins_option
from .progress import silence_models

if TYPE_CHECKING:
    from ..manager import Plugins


@click.command()
@click.argument("latents", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="As of longtake generate.")
@click.option("--overwrite", is_flag=True, help="Replace an existing output.")
@no_plugins_option
@click.pass_obj
def decode(plugins: Plugins, /, latents: Path, output: Path, overwrite: bool, **_: bool) -> None:
    """Make the video of LATENTS, a file that 'longtake generate' keeps when it cannot write the video."""
    from ..kept import decode_kept

    silence_models()
    decode_kept(latents, output=output, overwrite=overwrite, plugins=plugins, keep_frames=False)
    click.echo(output)
