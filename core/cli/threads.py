"""``--threads``: how many threads torch uses on a CPU."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import rich_click as click

from ..errors import LongtakeError

MOST_PER_CORE = 4  # more threads only wait for each other
Command = TypeVar("Command", bound=Callable[..., Any])


def threads_option(command: Command) -> Command:
    """Add ``--threads``, which sets torch's number of threads for the whole process."""
    return click.option(
        "--threads",
        type=click.IntRange(min=1),
        callback=_use_threads,
        expose_value=False,
        help="CPU threads.  [default: one for each core, or OMP_NUM_THREADS]",
    )(command)


def _use_threads(_: click.Context, __: click.Parameter, threads: int | None) -> None:
    if threads is not None:
        check_threads(threads)
        import torch

        torch.set_num_threads(threads)


def check_threads(threads: int) -> None:
    """See that a number of threads is one that a machine can start.

    Raises:
        LongtakeError: there are far more than cores; the message states the limit.

    """
    cores = os.cpu_count() or 1
    if threads > MOST_PER_CORE * cores:
        raise LongtakeError(
            f"--threads {threads} is more than {MOST_PER_CORE * cores}, {MOST_PER_CORE} for each of the {cores} cores"
            " of this machine"
        )
