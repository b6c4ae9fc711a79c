"""Finding and loading plugins: built-ins first, then third parties one by one, with blame."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, PackageNotFoundError, distributions, version
from typing import TYPE_CHECKING, NamedTuple

import pluggy

from . import hookspecs
from .errors import PluginError, reason
from .interrupts import Interrupts, counted
from .registry import Registry

if TYPE_CHECKING:
    import click

GROUP = "longtake"
NONE_OF_THEM = "LONGTAKE_NO_PLUGINS"  # in the environment, and not empty: no third party's plugin is loaded


class Plugins(NamedTuple):
    """A plugin manager and the registry that its plugins have filled."""

    manager: pluggy.PluginManager
    registry: Registry

    def __deepcopy__(self, memo: dict[int, object]) -> Plugins:
        """Return the same: what is loaded is loaded once, for a pipeline and for copies of it."""
        return self


def load_plugins(*, third_party: bool = True) -> Plugins:
    """Return a fresh manager and registry; nothing is global and nothing happens at import.

    A plugin that fails to import, does not fit the hooks, or clashes with another is left out whole; the reason
    stands in ``registry.broken``.
    """
    plugins = Plugins(pluggy.PluginManager(hookspecs.PROJECT), Registry())
    plugins.manager.add_hookspecs(hookspecs)
    # By its dotted name, so that core imports nothing of the other folders.
    builtin = importlib.import_module("..plugins.builtin", __package__)
    for name, plugin in builtin.PLUGINS.items():
        add_plugin(plugins, plugin, name)
    if third_party and not os.environ.get(NONE_OF_THEM):
        for entry_point in sorted(_entry_points(plugins.registry), key=lambda point: point.name):
            _load_entry_point(plugins, entry_point)
    return plugins


def _entry_points(registry: Registry) -> Iterator[EntryPoint]:
    """Yield what packages offer that are installed; what lies in the working directory by chance is none of them.

    A package whose metadata cannot be read is passed over, and recorded if it is called after longtake.
    """
    here = os.path.realpath(".")
    folders = [folder for folder in sys.path if folder and os.path.realpath(folder) != here]
    seen = set()
    for package in distributions(path=folders):
        try:
            name, found = package.name, list(package.entry_points.select(group=GROUP))
        except Exception as error:  # text that is none, or no lines of name = value
            folder = os.path.basename(str(getattr(package, "_path", "")))
            if GROUP in folder:
                registry.broken[folder] = f"its metadata cannot be read: {type(error).__name__}: {error}"
            continue
        if name not in seen:  # the first of a name is what an import gives
            seen.add(name)
            yield from found


def add_plugin(plugins: Plugins, plugin: object, name: str) -> None:
    """Register one plugin and take what it offers, or leave no trace of it.

    Raises:
        PluginError: it offers something that breaks a contract.
        pluggy.PluginValidationError: a hook of it asks for arguments that do not exist.

    """
    manager, registry = plugins
    try:
        manager.register(plugin, name)
        manager.check_pending()
        others = [other for other in manager.get_plugins() if other is not plugin]
        offer = manager.subset_hook_caller("longtake_register_strategies", remove_plugins=others)
        offer(register=lambda cls: registry.add(cls, name))
    except BaseException:
        registry.withdraw(name)
        if manager.is_registered(plugin):
            manager.unregister(plugin)
        raise


def _load_entry_point(plugins: Plugins, entry_point: EntryPoint) -> None:
    name = entry_point.name
    if plugins.manager.has_plugin(name):
        plugins.registry.broken[f"{name} ({_origin(entry_point)})"] = f"another plugin is already named {name!r}"
        return
    with counted() as interrupts:
        try:
            _check_supported(entry_point)
            with _not_from_here():
                plugin = entry_point.load()
            add_plugin(plugins, plugin() if isinstance(plugin, type) else plugin, name)
        except BaseException as error:  # a plugin may raise anything at import
            if interrupts.stops(error):
                raise KeyboardInterrupt from None
            plugins.registry.broken[name] = reason(error)
            return
    dist = entry_point.dist
    plugins.registry.packages[name] = f"{dist.name} {dist.version}" if dist else entry_point.value


@contextmanager
def _not_from_here() -> Iterator[None]:
    """Leave the working directory out of where modules are found, as it is in ``python -c`` or a notebook."""
    here = [number for number, folder in enumerate(sys.path) if not folder]
    for number in reversed(here):
        del sys.path[number]
    try:
        yield
    finally:
        for number in here:
            sys.path.insert(number, "")


def _check_supported(entry_point: EntryPoint) -> None:
    """Refuse a plugin whose package asks for another longtake, as its metadata say.

    Raises:
        PluginError: with what it asks for, and what is here.

    """
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    try:
        here = version("longtake")
    except PackageNotFoundError:  # a folder that is not installed, as a node pack is
        return
    for line in (entry_point.dist.requires if entry_point.dist else None) or ():
        asked = Requirement(line)
        meant = canonicalize_name(asked.name) == "longtake" and (asked.marker is None or asked.marker.evaluate())
        if meant and not asked.specifier.contains(here, prereleases=True):
            raise PluginError(f"it supports longtake {asked.specifier}, and this is {here}")


def offer_commands(plugins: Plugins, cli: click.Group) -> None:
    """Let every plugin add its commands; one that fails, or would replace a command, adds none and is recorded."""
    manager, registry = plugins
    for name, plugin in manager.list_name_plugin():
        others = [other for other in manager.get_plugins() if other is not plugin]
        offer = manager.subset_hook_caller("longtake_register_commands", remove_plugins=others)
        before = dict(cli.commands)
        interrupts = Interrupts()
        try:
            with counted() as interrupts:
                offer(cli=cli)
            replaced = [command for command, was in before.items() if cli.commands.get(command) is not was]
            if replaced:
                raise PluginError(f"the command {replaced[0]!r} exists already")
        except BaseException as error:
            if interrupts.stops(error):
                raise KeyboardInterrupt from None
            cli.commands.clear()
            cli.commands.update(before)
            registry.broken[f"{name} (its commands)"] = reason(error)


def versions(plugins: Plugins) -> dict[str, str]:
    """Return name → package and version of every third-party plugin that is loaded."""
    return dict(plugins.registry.packages)


def _origin(entry_point: EntryPoint) -> str:
    return entry_point.dist.name if entry_point.dist else entry_point.value
