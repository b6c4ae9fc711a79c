"""Who is to blame when something of a plugin fails in the middle of a generation: the plugin, the strategy, the step.

It is read off the traceback, so that nothing has to be wrapped while all goes well.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from .budget.devices import is_out_of_memory
from .contracts import Strategy
from .errors import LongtakeError, PluginError, reason
from .interrupts import Interrupts, counted
from .run import Step

if TYPE_CHECKING:
    import pluggy

    from .manager import Plugins
    from .registry import Registry

ROOT = __name__.removesuffix(".core.blame")


def is_foreign(strategy: Strategy) -> bool:
    """Whether a strategy is a third party's."""
    return not type(strategy).__module__.startswith(f"{ROOT}.")


@contextmanager
def blaming(
    plugins: Plugins | Callable[[], Plugins], but: tuple[type[BaseException], ...] = (), at: str = ""
) -> Iterator[None]:
    """Turn whatever a third party's code raises within the block into an error that says whose it is.

    That includes SystemExit, but where a plugin's own command ends with it, and KeyboardInterrupt, but where the user
    has pressed Ctrl-C.

    Args:
        plugins: that are loaded, or what loads them where something has failed.
        but: what passes as it is.
        at: where in the denoising this is, for errors that do not come out of longtake's own loop.

    Raises:
        PluginError: with plugin, strategy or hook, step, file and line.

    """
    interrupts = Interrupts()
    try:
        with counted() as interrupts:
            yield
    except BaseException as error:
        stopped = not isinstance(error, Exception) and interrupts.stops(error)
        if stopped or is_out_of_memory(error) or isinstance(error, but):
            raise
        known = plugins() if callable(plugins) else plugins
        where = _step(error) or at
        if isinstance(error, PluginError) and error.strategy is not None:
            raise PluginError(f"{error} ({_whose(error.strategy, known.registry)}{where})") from error
        blamed = _blamed(error, known, where)
        if blamed is None:
            raise
        # What a plugin says to the user in longtake's own way is its sentence, and its kind of error.
        raise (type(error) if isinstance(error, LongtakeError) else PluginError)(blamed) from error


def others_with(hook: pluggy.HookCaller) -> list[str]:
    """Return the names of third parties' plugins that have that hook."""
    found = [
        (each.plugin_name, getattr(each.plugin, "__name__", type(each.plugin).__module__))
        for each in hook.get_hookimpls()
    ]
    return [name for name, module in found if not module.startswith(f"{ROOT}.")]


def _blamed(error: BaseException, plugins: Plugins, where: str) -> str | None:
    """Return what is to be said of an error that comes from a plugin; None of one that does not."""
    theirs = _modules(plugins)
    guilty = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__) if _owner(frame, theirs)]
    if not guilty:
        return None
    frame, line = guilty[-1]
    if isinstance(error, SystemExit) and _is_command(error, guilty[0][0]):
        return None
    if isinstance(error, LongtakeError):
        inner = list(traceback.walk_tb(error.__traceback__))[-1][0]
        return f"{error} (plugin {_owner(frame, theirs)!r}{where})" if inner is frame else None
    strategies = [strategy for each, _ in guilty if (strategy := _strategy(each))]
    what = f"its {strategies[-1].kind} strategy {strategies[-1].name!r}" if strategies else guilty[0][0].f_code.co_name
    return (
        f"plugin {_owner(frame, theirs)!r} failed in {what}{where}: {reason(error)}\n"
        f"at {frame.f_code.co_filename}, line {line}"
    )


def _is_command(error: SystemExit, frame: FrameType) -> bool:
    """Whether a plugin's code is the callback of a command, which click has called."""
    frames = [each for each, _ in traceback.walk_tb(error.__traceback__)]
    callers = frames[: frames.index(frame)]
    return bool(callers) and str(callers[-1].f_globals.get("__name__")).split(".")[0] in ("click", "rich_click")


def _modules(plugins: Plugins) -> dict[str, str]:
    """Return the modules of third-party plugins and of their strategies, with the plugin's name."""
    manager, registry = plugins
    found = {}
    for name in registry.packages:
        plugin: Any = manager.get_plugin(name)
        found[getattr(plugin, "__name__", type(plugin).__module__)] = name
    for (kind, name), owner in registry.providers.items():
        if owner in registry.packages:
            found[registry.classes[kind][name].__module__] = owner
    return found


def _owner(frame: FrameType, theirs: dict[str, str]) -> str | None:
    """Return the plugin whose code a frame runs, or whose strategy in a method that it has from the contract."""
    strategy = _strategy(frame)
    return theirs.get(str(frame.f_globals.get("__name__"))) or theirs.get(type(strategy).__module__)


def _strategy(frame: FrameType) -> Strategy | None:
    strategy = frame.f_locals.get("self")
    return strategy if isinstance(strategy, Strategy) else None


def _whose(strategy: Strategy, registry: Registry) -> str:
    owner = registry.providers.get((strategy.kind, strategy.name))
    return f"of plugin {owner!r}" if owner else f"of {type(strategy).__module__}"


def _step(error: BaseException) -> str:
    """Return at which step it was, if the loop had begun."""
    steps = [frame.f_locals.get("step") for frame, _ in traceback.walk_tb(error.__traceback__)]
    found = [step for step in steps if isinstance(step, Step)]
    return f" at step {found[-1].index + 1} of {found[-1].count}" if found else ""
