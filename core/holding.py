"""One thread at a time works with a model: its modules are held, and other threads wait.

Strategies, places and precisions are put into modules for a time and taken out again, which two threads cannot do at
once. The locks belong to the modules rather than to what holds them, so that two pipelines of one UNet share its lock,
and they are kept beside the modules, so that copies and pickles know nothing of them. They are locks of our own
because a generator that decodes may be begun in one thread and finished in another, and because two threads that would
wait for each other are to be told so.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from .errors import LongtakeError


class _Lock:
    """Who holds a module, and how many blocks deep."""

    owner: threading.Thread | None = None
    depth = 0


_changed = threading.Condition()  # guards the two below
_locks: WeakKeyDictionary[Any, _Lock] = WeakKeyDictionary()
_waiting: dict[threading.Thread, _Lock] = {}


@contextmanager
def holding(*modules: Any) -> Iterator[None]:
    """Keep other threads from modules for the time of the block; wait until they are free.

    Blocks of one thread may be nested. Whoever holds several takes them in one order: UNet, VAE, image encoder.

    Raises:
        LongtakeError: the thread that holds one waits for one that this thread holds, so neither would ever go on.

    """
    with ExitStack() as held:
        for module in modules:
            held.callback(_give_back, _take(getattr(module, "_orig_mod", module)))
        yield


def _take(module: Any) -> _Lock:
    me = threading.current_thread()
    with _changed:
        lock = _locks.setdefault(module, _Lock())
        while lock.owner not in (None, me):
            _refuse_circle(lock, me)
            _waiting[me] = lock
            try:
                _changed.wait()
            finally:
                del _waiting[me]
        lock.owner, lock.depth = me, lock.depth + 1
        return lock


def _give_back(lock: _Lock) -> None:
    with _changed:
        lock.depth -= 1
        if not lock.depth:
            lock.owner = None
            _changed.notify_all()


def _refuse_circle(lock: _Lock, me: threading.Thread) -> None:
    """Follow who waits for whom, from a lock on: a circle comes into being with the last thread that waits."""
    owner = lock.owner
    while owner in _waiting:
        owner = _waiting[owner].owner
        if owner is me:
            raise LongtakeError(
                "this thread and another would wait for each other for ever: each holds a model that the other needs; "
                "nest blocks of longtake.installed for several models in the same order in all threads"
            )
