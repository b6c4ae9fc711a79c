"""The JSON schema of config files, open to plugins: made from whatever is registered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..config import STRATEGY_KINDS, Config

if TYPE_CHECKING:
    from ..contracts import Strategy
    from ..registry import Registry


def config_schema(registry: Registry) -> dict[str, Any]:
    """Return the schema of a config file: each strategy by its name, or as a mapping with its name and options."""
    schema = Config.model_json_schema(mode="serialization") | {"title": "longtake config", "required": []}
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["$defs"] = {
        _key(kind, name): _strategy_schema(cls)
        for kind in STRATEGY_KINDS
        for name, cls in registry.classes[kind].items()
    }
    for kind in STRATEGY_KINDS:
        schema["properties"][kind] = _choice(kind, registry) | {"description": Config.model_fields[kind].description}
    _refer(schema["$defs"], registry)
    return schema


def _key(kind: str, name: str) -> str:
    return f"{kind}.{name}"


def _choice(kind: str, registry: Registry) -> dict[str, Any]:
    names = sorted(registry.classes[kind])
    references = [{"$ref": f"#/$defs/{_key(kind, name)}"} for name in names]
    return {"anyOf": [{"enum": names}, *references, {"type": "null"}], "default": None}


def _strategy_schema(cls: type[Strategy]) -> dict[str, Any]:
    schema = cls.model_json_schema(mode="serialization")
    properties = {"name": {"const": cls.name}} | schema.get("properties", {})
    return {
        "type": "object",
        "description": (cls.__doc__ or "").strip(),
        "properties": properties,
        "required": ["name", *(name for name, field in cls.model_fields.items() if field.is_required())],
        "additionalProperties": False,
    }


def _refer(definitions: dict[str, Any], registry: Registry) -> None:
    """Let options that are strategies themselves refer to the strategies of their kind."""
    for kind in STRATEGY_KINDS:
        for name, cls in registry.classes[kind].items():
            for option, field in cls.model_fields.items():
                inner = getattr(field.annotation, "kind", None)
                if inner in STRATEGY_KINDS:
                    definitions[_key(kind, name)]["properties"][option] = _choice(inner, registry)
