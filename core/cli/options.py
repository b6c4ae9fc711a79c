"""The options of the command line, made from the fields of the config: one place says what exists and what it means."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import rich_click as click
from pydantic.fields import FieldInfo

from ..config import STRATEGY_KINDS, Config, load_config, merge, read_config_file
from ..files.sources import Named
from ..image import EXAMPLE, example_image
from ..registry import Registry

Command = TypeVar("Command", bound=Callable[..., Any])

PANELS = {
    "Video": (
        "frames",
        "fps",
        "output_fps",
        "width",
        "height",
        "fit",
        "enlarge",
        "continues",
        "end_image",
        "end_frames",
        "loop",
    ),
    "Generation": ("speed", "steps", "reuse", "seed", "motion_bucket", "noise_aug", "preview"),
    "Model": (
        "model",
        "trained",
        "variant",
        "dtype",
        "weights",
        "device",
        "memory",
        "compile",
        "decode_chunk",
        "decode_overlap",
    ),
    "Strategies": STRATEGY_KINDS,
}


def config_file_of(options: dict[str, Any]) -> list[Named]:
    """Return the config file of a command line, if it names one; :func:`asked_config` takes it out of the options."""
    return [Named("the config file", options["config_file"])] if options["config_file"] else []


def no_plugins_option(command: Command) -> Command:
    """Add ``--no-plugins``, which :func:`longtake.core.cli.commands.main` acts on before anything else."""
    return click.option("--no-plugins", is_flag=True, help="Leave all third-party plugins out.")(command)


def json_option(what: str) -> Callable[[Command], Command]:
    """Add ``--json``, which leaves nothing but JSON on standard output."""
    return click.option("--json", "as_json", is_flag=True, help=what)


def config_options(command: Command) -> Command:
    """Add an option for every field of the config, a config file, and options of strategies."""
    command = no_plugins_option(command)
    command = click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="KIND.OPTION=VALUE",
        help="An option of a strategy, such as positional.factor=2; may be given several times.",
        panel="Strategies",
    )(command)
    for panel, names in reversed(PANELS.items()):
        for name in reversed(names):
            command = _option(name, Config.model_fields[name], panel)(command)
    return click.option(
        "-c",
        "--config",
        "config_file",
        type=click.Path(path_type=Path),
        help="A YAML, TOML or JSON file, or the record beside an earlier output; the command line wins over it.",
    )(command)


def _option(name: str, field: FieldInfo, panel: str) -> Callable[[Command], Command]:
    flag = "--" + name.replace("_", "-")
    default = f"  [default: {field.default}]" if field.default not in (None, False) else ""
    kind: dict[str, Any]
    choices = _choices(field.annotation)
    if name in STRATEGY_KINDS:
        kind = {"metavar": "NAME"}
        default = "  See: longtake strategies"
    elif choices:
        kind = {"type": click.Choice(choices)}
    elif field.annotation is bool:
        flag, kind = f"{flag}/--no-{name}", {"is_flag": True}
    else:
        plain = next((each for each in (int, float) if each in (field.annotation, *get_args(field.annotation))), str)
        kind = {"type": plain}
    return click.option(flag, name, help=(field.description or "") + default, default=None, panel=panel, **kind)


def _choices(annotation: Any) -> list[str] | None:
    for each in (annotation, *get_args(annotation)):
        if get_origin(each) is Literal:
            return list(get_args(each))
    return None


def asked_config(registry: Registry, image: str | None, options: dict[str, Any]) -> Config:
    """Return what a command line asks for: a file, if given, with the options and settings laid over it.

    Raises:
        ConfigError: something of it does not exist or is out of range.

    """
    file, settings = options.pop("config_file"), options.pop("settings")
    options.pop("no_plugins")
    given = {name: value for name, value in options.items() if value is not None}
    if image is not None:
        given["image"] = str(example_image()) if image == EXAMPLE and not Path(image).exists() else image
    return load_config(merge(read_config_file(file) if file else {}, given, list(settings)), registry)
