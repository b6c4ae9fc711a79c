"""Where the command line begins: not in ``commands.py``, so that Ctrl-C while libraries load is no traceback."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from ..interrupts import Stopped

STOPPING = ("SIGTERM", "SIGHUP", "SIGQUIT")  # those that the system has


def main() -> NoReturn:
    """Run the command line; see :func:`longtake.core.cli.commands.main`.

    Ctrl-C and the signals that ask a program to stop end it with 128 + the signal's number, after everything that
    Ctrl-C cleans up is cleaned up.
    """
    # OpenMP's threads spin while they wait for each other. If other programs need the cores too, each small operation
    # then waits for a thread that is not running, and the same work takes several times as long
    # (docs/benchmarks/README.md, "Threads"). OpenMP reads this when torch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with _stopped_by_signals() as received:
        try:
            from .commands import main as run

            run()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and not received:
                received.append(signal.SIGINT)
            if not received:
                raise
        name = "Ctrl-C" if received[0] == signal.SIGINT else received[0].name
        with suppress(OSError):  # the terminal may be what went away
            sys.stderr.write(f"stopped by {name}; nothing half-written is left behind\n")
        sys.exit(128 + received[0])


@contextmanager
def _stopped_by_signals() -> Iterator[list[signal.Signals]]:
    """Give the list of signals that have asked the program to stop; the first raises Stopped.

    A signal that is ignored, as SIGHUP is under nohup, or that somebody else handles, stays so.
    """
    received: list[signal.Signals] = []

    def stop(number: int, frame: FrameType | None) -> None:
        received.append(signal.Signals(number))
        if len(received) == 1:  # what comes later would only disturb the cleaning up
            raise Stopped

    ours = []
    if threading.current_thread() is threading.main_thread():
        known = [getattr(signal, name) for name in STOPPING if hasattr(signal, name)]
        ours = [number for number in known if signal.getsignal(number) == signal.SIG_DFL]
    for number in ours:
        signal.signal(number, stop)
    try:
        yield received
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
