"""``longtake plugin new``."""

from __future__ import annotations

import shlex
from pathlib import Path

import rich_click as click

from ...core.cli.screen import show
from ...core.config import STRATEGY_KINDS
from ...core.hookspecs import hookimpl


@click.group()
def plugin() -> None:
    """Write plugins of your own; see docs/writing-plugins.md."""


@plugin.command()
@click.argument("name")
@click.option("--kind", type=click.Choice(STRATEGY_KINDS), default="positional", show_default=True, help="Of strategy.")
@click.option("--into", type=click.Path(path_type=Path), default=Path(), help="Folder to write it in.  [default: here]")
def new(name: str, kind: str, into: Path) -> None:
    """Write the package longtake-NAME: a strategy that works, its test, and all that is needed to publish it."""
    from .package import write_package

    folder = write_package(name, kind, into)
    show(folder)
    editable, target = shlex.quote(f"{folder}[dev]"), shlex.quote(str(folder))
    click.echo(
        f"now: python -m pip install -e {editable}, then: longtake plugins, and: python -m pytest {target}", err=True
    )


@hookimpl
def longtake_register_commands(cli: click.Group) -> None:
    """Add ``longtake plugin``."""
    cli.add_command(plugin)
