"""What is wrong with the plugins that are installed: what ``longtake plugins --check`` says."""

from __future__ import annotations

import inspect
import warnings
from typing import TYPE_CHECKING

from . import hookspecs
from .contracts import CONTRACTS, Strategy
from .errors import did_you_mean, reason
from .interrupts import Interrupts, counted
from .testing import check_strategy, example_options

if TYPE_CHECKING:
    from .manager import Plugins

PREFIX = "longtake_"


def problems(plugins: Plugins) -> list[tuple[str, str]]:
    """Return plugin and problem, for all that third parties' plugins do not do as longtake asks.

    These are plugins that did not load, functions that are named like hooks and are none, methods that are named much
    like those of a contract, and strategies that break the contract of their kind.
    """
    manager, registry = plugins
    found = [(name, f"did not load: {reason}") for name, reason in registry.broken.items()]
    for name in registry.packages:
        plugin = manager.get_plugin(name)
        found += [(name, problem) for problem in _hooks(plugin)]
    for (kind, strategy), owner in registry.providers.items():
        if owner in registry.packages:
            cls = registry.classes[kind][strategy]
            found += [(owner, f"{kind} strategy {strategy!r}: {problem}") for problem in _misspelt(cls)]
            interrupts = Interrupts()
            try:
                with counted() as interrupts, warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    check_strategy(registry.build(kind, {"name": strategy, **example_options(cls)}))
            except BaseException as error:  # of a third party: anything
                if interrupts.stops(error):
                    raise
                why = str(error) if isinstance(error, AssertionError) else reason(error)
                found.append((owner, f"{kind} strategy {strategy!r} breaks its contract: {why}"))
    return found


def _misspelt(cls: type[Strategy]) -> list[str]:
    """Return which methods of a strategy look as if they were meant to be those of its contract."""
    contract = next(each for each in CONTRACTS if issubclass(cls, each))
    known = [name for name, value in vars(contract).items() if inspect.isfunction(value) and not name.startswith("_")]
    own = [name for name, value in vars(cls).items() if inspect.isfunction(value) and not hasattr(contract, name)]
    return [f"{name} is never called{hint}" for name in own if (hint := did_you_mean(name, known))]


def _hooks(plugin: object) -> list[str]:
    """Return what is wrong with the functions of a plugin that are named like hooks."""
    known = [name for name in vars(hookspecs) if name.startswith(PREFIX)]
    found = []
    for name, function in inspect.getmembers(plugin, inspect.isroutine):
        if not name.startswith(PREFIX):
            continue
        marked = getattr(function, f"{hookspecs.PROJECT}_impl", None) is not None
        if name not in known:
            found.append(f"{name} is no hook of this longtake{did_you_mean(name, known)}")
        elif not marked:
            found.append(f"{name} is never called: put @longtake.hookimpl above it")
    return found
