"""What docs/hooks.md, docs/config.md and docs/cli.md take from the code: sections for cog."""

from __future__ import annotations

import inspect
import json
import textwrap
from typing import Any

import click

from longtake.core import hookspecs
from longtake.core.cli.commands import cli
from longtake.core.cli.schema import config_schema
from longtake.core.config import STRATEGY_KINDS, Config
from longtake.core.contracts import CONTRACTS, Span, Windows
from longtake.core.manager import load_plugins, offer_commands
from longtake.core.registry import Registry
from longtake.core.run import Run, Step


def hooks() -> str:
    """Return a section for each hook: its arguments, what it is for."""
    parts = []
    for name, function in vars(hookspecs).items():
        if name.startswith("longtake_"):
            options = getattr(function, f"{hookspecs.PROJECT}_spec")
            first = "; the first result that is not None counts" if options["firstresult"] else ""
            arguments = ", ".join(inspect.signature(function).parameters)
            parts.append(f"## {name}\n\n`{name}({arguments})`{first}\n\n{inspect.getdoc(function)}\n")
    return "\n".join(parts)


def objects() -> str:
    """Return what hooks and strategies are given: the attributes of each."""
    parts = []
    for cls in (Span, Windows, Step, Run):
        head, _, attributes = (inspect.getdoc(cls) or "").partition("Attributes:\n")
        parts.append(f"### {cls.__name__}\n\n{head.strip()}\n\n{_listed(attributes)}\n")
    return "\n".join(parts)


def _listed(attributes: str) -> str:
    """Return the attributes of a docstring as a list."""
    lines: list[str] = []
    for line in textwrap.dedent(attributes).splitlines():
        if line.startswith(" "):
            lines[-1] += " " + line.strip()
        elif line.strip():
            name, _, meaning = line.partition(": ")
            lines.append(f"- `{name}`: {meaning}")
    return "\n".join(lines)


def contracts() -> str:
    """Return a section for each kind of strategy: what can be overridden."""
    parts = []
    for contract in CONTRACTS:
        parts.append(f"### {contract.__name__} (`{contract.kind}`)\n\n{inspect.getdoc(contract)}\n")
        for name, method in vars(contract).items():
            if inspect.isfunction(method) and not name.startswith("_"):
                arguments = ", ".join(list(inspect.signature(method).parameters)[1:])
                summary = (inspect.getdoc(method) or "").split("\n")[0]
                parts.append(f"- `{name}({arguments})`: {summary}")
        parts.append("")
    return "\n".join(parts)


def config(registry: Registry) -> str:
    """Return a table of the keys of a config, apart from strategies."""
    properties = config_schema(registry)["properties"]
    lines = ["| key | values | default | meaning |", "|---|---|---|---|"]
    for name, field in Config.model_fields.items():
        if name not in STRATEGY_KINDS:
            default = "–" if field.default is None else f"`{json.dumps(field.default)}`"
            lines.append(f"| `{name}` | {_values(properties[name])} | {default} | {field.description} |")
    return "\n".join(lines)


def _values(schema: dict[str, Any]) -> str:
    """Return how a person would call what may be given."""
    if "anyOf" in schema:
        return " or ".join(_values(each) for each in schema["anyOf"] if each.get("type") != "null")
    if "enum" in schema or "const" in schema:
        return " or ".join(f"`{each}`" for each in schema.get("enum", [schema.get("const")]))
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {schema[key]:g}" for key, sign in signs.items() if key in schema]
    return " ".join([schema.get("type", "text"), ", ".join(bounds)]).strip()


def kinds(registry: Registry) -> str:
    """Return a table of the kinds of strategies and their names."""
    lines = ["| key | what it decides | strategies |", "|---|---|---|"]
    for contract in CONTRACTS:
        names = ", ".join(
            f"[`{name}`](strategies.md#{contract.kind}-{name})" for name in sorted(registry.classes[contract.kind])
        )
        summary = (inspect.getdoc(contract) or "").split("\n")[0]
        lines.append(f"| `{contract.kind}` | {summary} | {names} |")
    return "\n".join(lines)


def commands() -> str:
    """Return a section for each command of the command line, as it says itself."""
    offer_commands(load_plugins(third_party=False), cli)
    return "\n".join(_command(command, ["longtake", name]) for name, command in sorted(cli.commands.items()))


def _command(command: click.Command, path: list[str]) -> str:
    if isinstance(command, click.Group):
        inner = [_command(each, [*path, name]) for name, each in sorted(command.commands.items())]
        return f"## {' '.join(path)}\n\n{inspect.cleandoc(command.help or '')}\n\n" + "\n".join(inner)
    lines = [f"## {' '.join(path)}", ""]
    arguments = [
        str(each.make_metavar(click.Context(command))) for each in command.params if isinstance(each, click.Argument)
    ]
    lines += [f"    {' '.join([*path, '[OPTIONS]', *arguments])}", "", inspect.cleandoc(command.help or ""), ""]
    options = [each for each in command.params if isinstance(each, click.Option)]
    every = any(option.name in STRATEGY_KINDS for option in options)
    taken = [option for option in options if every and option.name in Config.model_fields]
    if taken:
        lines.append(
            "Takes every key of [a config](config.md) as an option, `motion_bucket` as `--motion-bucket`; and:\n"
        )
    rows = [f"| {_names(option)} | {_meaning(option)} |" for option in options if option not in taken]
    if rows:
        lines += ["| option | meaning |", "|---|---|", *rows, ""]
    return "\n".join(lines)


def _names(option: click.Option) -> str:
    return ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])


def _meaning(option: click.Option) -> str:
    """Return the help of an option on one line, with what can be chosen from."""
    text = " ".join((option.help or "").replace("|", "or").split())
    if isinstance(option.type, click.Choice):
        text += f" One of {', '.join(f'`{each}`' for each in option.type.choices)}."
    return text.strip()
