"""Where the command line begins: not in ``commands.py``, so that Ctrl-C while libraries load is no traceback."""

from __future__ import annotations

import sys
from typing import NoReturn

INTERRUPTED = 130


def main() -> NoReturn:
    """Run the command line; see :func:`longtake.core.cli.commands.main`."""
    try:
        from .commands import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("stopped by Ctrl-C; nothing half-written is left behind\n")
        sys.exit(INTERRUPTED)
