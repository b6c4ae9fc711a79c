"""Which strategies exist, from whom, and how a name in a config becomes one."""

from __future__ import annotations

import inspect
from typing import Any

from pydantic import PydanticUserError, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from .contracts import CONTRACTS, Strategy
from .course import Course
from .errors import LONGEST_VALUE, ConfigError, PluginError, did_you_mean, explain, first_line, shortened


class Registry:
    """Strategies by kind and name, and the plugins that failed to offer theirs.

    Attributes:
        classes: kind → name → strategy class.
        providers: (kind, name) → name of the plugin that registered it.
        broken: plugin → why it did not load.
        packages: third-party plugin that did load → its package and version.

    """

    def __init__(self) -> None:
        self.classes: dict[str, dict[str, type[Strategy]]] = {contract.kind: {} for contract in CONTRACTS}
        self.providers: dict[tuple[str, str], str] = {}
        self.broken: dict[str, str] = {}
        self.packages: dict[str, str] = {}

    def add(self, cls: type[Strategy], plugin: str) -> None:
        """Make ``cls`` known under its kind and name.

        Raises:
            PluginError: it is no strategy, its name is taken, a method does not take the contract's arguments, or its
                options cannot stand in a config file.

        """
        contract = _contract_of(cls)
        name = getattr(cls, "name", None)
        if not isinstance(name, str) or not name:
            raise PluginError(f"{cls.__name__} has no name; give the class a line such as: name = 'mine'")
        owner = self.providers.get((cls.kind, name))
        if owner is not None:
            raise PluginError(f"{cls.kind} strategy {name!r} is already registered by plugin {owner!r}")
        _check_methods(cls, contract)
        _check_options(cls)
        self.classes[cls.kind][name] = cls
        self.providers[cls.kind, name] = plugin

    def withdraw(self, plugin: str) -> None:
        """Forget whatever ``plugin`` has registered."""
        for kind, name in [key for key, owner in self.providers.items() if owner == plugin]:
            del self.classes[kind][name], self.providers[kind, name]

    def build(self, kind: str, value: str | dict[str, Any]) -> Strategy:
        """Return the strategy that a config means by ``"name"`` or ``{"name": ..., option: value, ...}``.

        Raises:
            ConfigError: no such strategy, no such option, or an option out of range.

        """
        options = {"name": value} if isinstance(value, str) else dict(value)
        name = options.pop("name", None)
        if not isinstance(name, str):
            given = "" if name is None else f", got {shortened(name)}"
            raise ConfigError(f"{kind} needs a name{given}; known: {', '.join(sorted(self.classes[kind]))}")
        cls = self.classes[kind].get(name)
        if cls is None:
            raise ConfigError(self._unknown(kind, name))
        try:
            return cls.model_validate(options, context={"registry": self})
        except ValidationError as error:
            what = f"option of {kind} strategy {name!r}:"
            raise ConfigError(explain(error, cls.model_fields, prefix=f"{kind}.", what=what)) from None

    def _unknown(self, kind: str, name: str) -> str:
        known = sorted(self.classes[kind])
        notes = [
            f"\nnote: plugin {plugin!r} did not load ({reason}); it may define {shortened(name)}"
            for plugin, reason in sorted(self.broken.items())
        ]
        what = f"{kind} schedule" if kind in ("noise", "guidance", "sigmas", "motion") else f"{kind} strategy"
        hint = did_you_mean(name[:LONGEST_VALUE], known)
        return f"unknown {what} {shortened(name)}; known: {', '.join(known)}{hint}{''.join(notes)}"


def _contract_of(cls: Any) -> type[Strategy]:
    if isinstance(cls, type):
        for contract in CONTRACTS:
            if issubclass(cls, contract):
                return contract
    names = ", ".join(contract.__name__ for contract in CONTRACTS)
    raise PluginError(f"{cls!r} is no strategy; a strategy is a subclass of one of {names}")


def default_of(field: FieldInfo) -> Any:
    """Return the default of an option as it stands in a config file; None where there is none."""
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    return default.dump() if isinstance(default, Strategy | Course) else to_jsonable_python(default)


def _check_options(cls: type[Strategy]) -> None:
    """Refuse options that cannot be listed, now rather than where all strategies are."""
    for name, field in cls.model_fields.items():
        try:
            default_of(field)
        except Exception as error:  # a plugin's own code may raise anything
            raise PluginError(f"{cls.__name__}: the default of its option {name!r} cannot be told: {error}") from error
    try:
        cls.model_json_schema(mode="serialization")
        cls.model_json_schema()
    except PydanticUserError as error:
        raise PluginError(f"{cls.__name__}: its options have no JSON schema: {first_line(error)}") from error


def _check_methods(cls: type[Strategy], contract: type[Strategy]) -> None:
    """Refuse a method that could not be called as the contract calls it, now rather than in mid-run."""
    for name, expected in vars(contract).items():
        if name.startswith("_") or not inspect.isfunction(expected):
            continue
        wanted = list(inspect.signature(expected).parameters)
        given = inspect.signature(getattr(cls, name))
        try:
            given.bind(*wanted)
        except TypeError:
            raise PluginError(
                f"{cls.__name__}.{name} takes ({', '.join(given.parameters)}), "
                f"but the {contract.kind} contract calls it with ({', '.join(wanted)})"
            ) from None
