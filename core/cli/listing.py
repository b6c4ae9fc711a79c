"""What exists, as data and as tables: strategies and plugins."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from ..config import STRATEGY_KINDS
from ..contracts import CONTRACTS, Strategy
from ..manager import Plugins, versions
from ..registry import default_of

if TYPE_CHECKING:
    from rich.console import Console

    from ..registry import Registry


def strategy_rows(registry: Registry) -> list[dict[str, Any]]:
    """Return an object with kind, name, plugin, summary and options for each strategy, sorted by kind and name."""
    return [
        {
            "kind": kind,
            "name": name,
            "plugin": registry.providers[kind, name],
            "summary": (cls.__doc__ or "").strip().split("\n")[0],
            "options": [_option_row(option, cls) for option in _own_first(cls)],
        }
        for kind in STRATEGY_KINDS
        for name, cls in sorted(registry.classes[kind].items())
    ]


def _own_first(cls: type[Strategy]) -> list[str]:
    """Return a strategy's options, those that every strategy of its kind has at the end."""
    common = {option for contract in CONTRACTS if issubclass(cls, contract) for option in contract.model_fields}
    return sorted(cls.model_fields, key=lambda option: option in common)


def _option_row(name: str, cls: type[Strategy]) -> dict[str, Any]:
    field = cls.model_fields[name]
    schema = cls.model_json_schema()["properties"][name]
    return {
        "name": name,
        "default": default_of(field),
        "required": field.is_required(),
        "type": _type_name(schema),
        "description": field.description or "",
    }


def _type_name(schema: dict[str, Any]) -> str:
    """Return how a person would call what may be given: ``number >= 1``, ``step | ends``."""
    if "anyOf" in schema:
        return " or ".join(_type_name(each) for each in schema["anyOf"] if each.get("type") != "null")
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if isinstance(schema.get("additionalProperties"), dict):
        return f"mapping to {_type_name(schema['additionalProperties'])}"
    if schema.get("format") == "path":
        return "file"
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {schema[key]:g}" for key, sign in signs.items() if key in schema]
    names = {"array": "list", "object": "mapping"}
    kind = schema.get("type", "strategy")
    return " ".join([names.get(kind, kind), ", ".join(bounds)]).strip()


def as_markdown(registry: Registry, pictures: str) -> str:
    """Return a section for each strategy: what it does, a picture where there is one, its options.

    Args:
        registry: with the strategies.
        pictures: folder of them beside the page, with a file KIND-NAME.png for each strategy but noise of a file.

    """
    lines: list[str] = []
    for row in strategy_rows(registry):
        kind, name = row["kind"], row["name"]
        if f"## {kind}" not in lines:
            lines += [f"## {kind}", ""]
        lines += [f"### {kind}: {name}", "", inspect.getdoc(registry.classes[kind][name]) or "", ""]
        if (kind, name) != ("noise", "file"):
            lines += [f"![{kind} {name}]({pictures}/{kind}-{name}.png)", ""]
        if row["options"]:
            lines += ["| option | values | default | meaning |", "|---|---|---|---|"]
            for option in row["options"]:
                default = "required" if option["required"] else f"`{short_default(option['default'])}`"
                values = option["type"].replace("|", "or")
                lines.append(f"| `{option['name']}` | {values} | {default} | {option['description']} |")
            lines.append("")
    return "\n".join(lines)


def plugin_rows(plugins: Plugins) -> list[dict[str, Any]]:
    """Return an object for each plugin: loaded ones in the order of their loading, then the broken ones."""
    manager, registry = plugins
    packages = versions(plugins)
    rows: list[dict[str, Any]] = []
    for name, plugin in manager.list_name_plugin():
        rows.append(
            {
                "name": name,
                "version": packages.get(name, "built in"),
                "hooks": sorted(caller.name for caller in manager.get_hookcallers(plugin) or ()),
                "strategies": [f"{kind}.{each}" for (kind, each), owner in registry.providers.items() if owner == name],
                "error": None,
            }
        )
    for name, reason in registry.broken.items():
        rows.append({"name": name, "version": None, "hooks": [], "strategies": [], "error": reason})
    return rows


def print_strategies(rows: list[dict[str, Any]], console: Console) -> None:
    """Print a table for each kind; options that all of a kind have come once, at its end."""
    for kind in dict.fromkeys(row["kind"] for row in rows):
        table = Table(title=f"--{kind}", title_justify="left", title_style="bold", show_lines=True, expand=True)
        table.add_column("name", style="bold cyan", no_wrap=True)
        table.add_column("what it does, and its options", ratio=1)
        table.add_column("plugin", no_wrap=True)
        found = [row for row in rows if row["kind"] == kind]
        shared = [each for each in found[0]["options"] if all(each in row["options"] for row in found[1:])]
        shared = shared if len(found) > 1 else []
        for row in found:
            own = [option for option in row["options"] if option not in shared]
            table.add_row(row["name"], Group(Text(row["summary"]), *map(_option_line, own)), row["plugin"])
        if shared:
            table.add_row("all of them", Group(*map(_option_line, shared)), "")
        console.print(table)


def _option_line(option: dict[str, Any]) -> Text:
    default = "required" if option["required"] else f"= {short_default(option['default'])}"
    line = Text("  ")
    line.append(option["name"], style="green")
    line.append(f" ({option['type']}) {default}", style="dim")
    line.append(f"  {option['description']}")
    return line


def short_default(default: Any) -> str:
    """Return a default as a person would write it: a strategy by its name alone."""
    return str(default["name"]) if isinstance(default, dict) and "name" in default else json.dumps(default)


def print_plugins(rows: list[dict[str, Any]], console: Console) -> None:
    """Print a table, the broken plugins with their reason."""
    table = Table(show_lines=True, expand=True)
    for title in ("plugin", "version"):
        table.add_column(title, no_wrap=True)
    table.add_column("hooks and strategies", ratio=1)
    for row in rows:
        if row["error"]:
            table.add_row(Text(row["name"], "bold red"), "", Text("did not load: " + row["error"], "red"))
        else:
            hooks = Text(", ".join(hook.removeprefix("longtake_") for hook in row["hooks"]))
            strategies = Text(", ".join(row["strategies"]), "cyan")
            table.add_row(
                Text(row["name"], "bold"), row["version"], Group(hooks, *([strategies] if strategies else []))
            )
    console.print(table)
