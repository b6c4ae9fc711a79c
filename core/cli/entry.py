"""Where the command line begins: not in ``commands.py``, so that Ctrl-C while libraries load is no traceback."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

INTERRUPTED = 130


def main() -> NoReturn:
    """Run the command line; see :func:`longtake.core.cli.commands.main`."""
    # OpenMP's threads spin while they wait for each other. If other programs need the cores too, each small operation
    # then waits for a thread that is not running, and the same work takes several times as long
    # (docs/benchmarks/README.md, "Threads"). OpenMP reads this when torch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        from .commands import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("stopped by Ctrl-C; nothing half-written is left behind\n")
        sys.exit(INTERRUPTED)
