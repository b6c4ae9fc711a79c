"""``--threads``: how many threads torch uses on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import rich_click as click

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
        import torch

        torch.set_num_threads(threads)
