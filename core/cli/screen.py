"""What the command line writes, to people and to pipes: nothing that commands a terminal, and no lost error."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedWriter, FileIO, TextIOWrapper
from typing import Any

import rich_click as click
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from ..errors import OutputError, printable_lines

CLOSED_PIPE = 1  # the exit code of click and rich, whose reader has gone


class Screen(Console):
    """A console that shows control characters in text as escapes, whoever chose that text."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render as usual, but for such characters; those with which rich itself moves the cursor stay."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable_lines(text), style, control)


def show(text: object) -> None:
    """Print what a script may read, such as the name of a file: as it is, unless a terminal would obey it."""
    click.echo(printable_lines(str(text)) if sys.stdout is not None and sys.stdout.isatty() else text)


class _Refused(OSError):
    """Standard output cannot be written, as opposed to any other file."""


class _Stdout(FileIO):
    """Standard output, whose errors can be told from those of other files."""

    def write(self, data: Any, /) -> Any:
        """Write as usual."""
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _Refused(error.errno, error.strerror) from None


@contextmanager
def written() -> Iterator[None]:
    """See that all that the block prints to standard output is written.

    Characters that its encoding lacks are replaced. Where nobody reads any longer, the program ends quietly.

    Raises:
        OutputError: standard output is closed, or the system refuses.

    """
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # for as long as the program runs
    if sys.stdout is None:
        raise OutputError("standard output is closed; send it somewhere, such as to /dev/null")
    before = sys.stdout
    if isinstance(before, TextIOWrapper):
        before.reconfigure(errors="replace")
        if not before.isatty():
            raw = BufferedWriter(_Stdout(before.fileno(), "w", closefd=False))
            sys.stdout = TextIOWrapper(raw, before.encoding, "replace")
    try:
        yield
        sys.stdout.flush()
    except (_Refused, BrokenPipeError) as error:
        # So that Python does not try once more at its end to write what is left.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, before.fileno())
        os.close(nowhere)
        if isinstance(error, BrokenPipeError):
            sys.exit(CLOSED_PIPE)
        raise OutputError(f"cannot write to standard output: {error.strerror}") from None
    finally:
        with suppress(OSError):
            sys.stdout.flush()
        sys.stdout = before
