"""The options of a strategy as widgets of ComfyUI: made from the JSON schema of its fields, whoever wrote it.

A number is INT or FLOAT with its bounds, a choice a drop-down, a switch BOOLEAN. What has no widget of its own (lists,
mappings, courses) is text in YAML. A number that may be left to longtake is text too, so that it can say "default":
ComfyUI's widgets for numbers show nothing but numbers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...core.contracts import Strategy
from ...core.documents import read_yaml
from ...core.errors import ConfigError
from ...core.registry import default_of

MOST = 1_000_000  # ComfyUI's own limits are lower, unless one is named
STEP = 0.01
AUTO = "default"
LEFT_OUT = object()


@dataclass(frozen=True, slots=True)
class Widget:
    """A widget of one option.

    Attributes:
        name: of the option.
        type: ComfyUI's name of it, or the choices of a drop-down.
        settings: its default, bounds and tooltip.
        read: returns the option's value for the widget's, or LEFT_OUT.

    """

    name: str
    type: str | list[str]
    settings: dict[str, Any]
    read: Callable[[Any], Any]


def widgets_of(cls: type[Strategy]) -> list[Widget]:
    """Return a widget for each option of a strategy that is not itself a strategy."""
    schema = cls.model_json_schema(mode="serialization")
    found = []
    for name in cls.model_fields:
        if name not in sockets_of(cls):
            field = cls.model_fields[name]
            default = LEFT_OUT if field.is_required() else default_of(field)
            shape = _shape(schema["properties"][name], schema.get("$defs", {}), default)
            found.append(_widget(f"{cls.kind}.{name}", name, shape, field.examples))
    return found


def sockets_of(cls: type[Strategy]) -> dict[str, str]:
    """Return the options that are strategies themselves, and of which kind they are."""
    kinds = {name: getattr(field.annotation, "kind", None) for name, field in cls.model_fields.items()}
    return {name: kind for name, kind in kinds.items() if kind is not None}


def options_from(widgets: list[Widget], given: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a strategy that the values of its widgets mean.

    Raises:
        ConfigError: a text is no YAML.

    """
    values = {widget.name: widget.read(given[widget.name]) for widget in widgets if widget.name in given}
    return {name: value for name, value in values.items() if value is not LEFT_OUT}


@dataclass(frozen=True, slots=True)
class _Shape:
    """What a schema says of an option: what it is, whether it may be null, its default and description."""

    one: dict[str, Any]
    nullable: bool
    default: Any
    description: str


def _shape(told: dict[str, Any], definitions: dict[str, Any], default: Any) -> _Shape:
    variants = [
        definitions[each["$ref"].rsplit("/", 1)[1]] if "$ref" in each else each for each in told.get("anyOf", [told])
    ]
    real = [each for each in variants if each.get("type") != "null"]
    one = real[0] if len(real) == 1 else {}
    return _Shape(one, len(real) < len(variants), default, told.get("description", ""))


def _widget(path: str, name: str, shape: _Shape, examples: list[Any] | None) -> Widget:
    one = shape.one
    if "enum" in one and all(isinstance(each, str) for each in one["enum"]):
        return _choice(name, shape, one["enum"])
    if one.get("type") == "boolean":
        if shape.nullable:
            return _choice(name, shape, ["true", "false"])
        default = shape.default is True
        return Widget(name, "BOOLEAN", {"default": default, "tooltip": shape.description}, _same)
    if one.get("type") in ("integer", "number"):
        return _number_or_default(name, shape) if shape.nullable else _number(name, shape)
    if one.get("type") == "string":
        return _text(name, shape, _or_left_out)
    return _yaml(path, name, shape, examples)


def _choice(name: str, shape: _Shape, choices: list[str]) -> Widget:
    known = {"true": True, "false": False} if choices == ["true", "false"] else {}
    listed = [AUTO, *choices] if shape.nullable else choices
    default = shape.default if shape.default in listed else listed[0]
    if isinstance(shape.default, bool):
        default = str(shape.default).lower()
    nullable = shape.nullable

    def read(value: str) -> Any:
        return None if nullable and value == AUTO else known.get(value, value)

    return Widget(name, listed, {"default": default, "tooltip": shape.description}, read)


def _number(name: str, shape: _Shape) -> Widget:
    whole = shape.one["type"] == "integer"
    step = 1 if whole else STEP
    low, high = _bounds(shape.one, step)
    default = shape.default if isinstance(shape.default, int | float) else low
    settings: dict[str, Any] = {"default": default, "min": low, "max": high}
    if not whole:
        settings = {key: float(value) for key, value in settings.items()} | {"round": False}
    settings |= {"step": step, "tooltip": shape.description}
    return Widget(name, "INT" if whole else "FLOAT", settings, _same)


def _number_or_default(name: str, shape: _Shape) -> Widget:
    """Return the widget of a number that may be left to longtake: text, which says so or has the number.

    Workflows that were saved when it was a number said so by one below its bounds, which is still read.
    """
    one = shape.one
    before = None
    if "minimum" in one or "exclusiveMinimum" in one:
        low, _ = _bounds(one, 1 if one["type"] == "integer" else STEP)
        before = 0 if low > 0 else low - 1

    def read(value: Any) -> Any:
        text = str(value).strip()
        number = _number_of(text)
        return None if text in ("", AUTO) or (before is not None and number == before) else number

    default = AUTO if shape.default in (None, LEFT_OUT) else f"{shape.default:g}"
    tooltip = f"{shape.description} A number, or {AUTO!r}, which leaves it to longtake."
    return Widget(name, "STRING", {"default": default, "multiline": False, "tooltip": tooltip}, read)


def _bounds(one: dict[str, Any], step: float) -> tuple[float, float]:
    """Return the lowest and highest number that a schema allows."""
    low = one.get("minimum", one.get("exclusiveMinimum", -step * MOST - step) + step)
    high = one.get("maximum", one.get("exclusiveMaximum", MOST + step) - step)
    return max(low, -MOST), min(high, MOST)


def _number_of(text: str) -> int | float | str:
    """Return the number that a text is; other text as it is, for the strategy to refuse."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _yaml(path: str, name: str, shape: _Shape, examples: list[Any] | None) -> Widget:
    def read(text: str) -> Any:
        if not text.strip():
            return LEFT_OUT
        try:
            return read_yaml(text)
        except ValueError as error:
            raise ConfigError(f"{path} must be a number, a list or a mapping in YAML, got {text!r}: {error}") from None

    return _text(name, shape, read, examples)


def _text(name: str, shape: _Shape, read: Callable[[str], Any], examples: list[Any] | None = None) -> Widget:
    default, tooltip = shape.default, shape.description
    if default in (None, LEFT_OUT):
        default = ""
    elif not isinstance(default, str):
        default = json.dumps(default)
    if examples:
        tooltip += f" For example: {json.dumps(examples[0])}"
    if shape.nullable:
        tooltip += " Empty leaves it to longtake."
    return Widget(name, "STRING", {"default": default, "multiline": False, "tooltip": tooltip}, read)


def _same(value: Any) -> Any:
    return value


def _or_left_out(text: str) -> Any:
    return text if text else LEFT_OUT
