"""Errors that a user can mend, and the words in which they are told."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

    from .contracts import Strategy

LONGEST_VALUE = 80  # characters of a value that an error shows
MOST_NAMES = 5
MOST_FAULTS = 10
UNKNOWN = ("extra_forbidden", "invalid_key")  # pydantic's types of error for a key that does not exist


MOST_SHOWN = 120  # characters of a foreign name


class LongtakeError(Exception):
    """Something that the user can mend: what was asked, what exists, what to do next.

    The command line prints it without a traceback and exits with 2. Its message may quote foreign files and names; no
    character of theirs reaches the terminal as a command to it.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(printable_lines(str(message)))


class ConfigError(LongtakeError):
    """A config, an option or a strategy that does not fit."""


class NotKnownError(ConfigError):
    """Something that only the user can say, such as the memory of a device of another machine."""


class ModelError(LongtakeError):
    """A model that cannot be found, is no SVD, or gave numbers that are not finite."""


class ImageError(LongtakeError):
    """A start image that cannot be used."""


class OutputError(LongtakeError):
    """A file that cannot be written."""


class PluginError(LongtakeError):
    """A plugin that breaks a contract; the message names it.

    Attributes:
        strategy: that breaks it, where it is one.

    """

    def __init__(self, message: str, strategy: Strategy | None = None) -> None:
        super().__init__(message)
        self.strategy = strategy


def printable(text: object) -> str:
    """Return foreign text on one line, shortened if long; control characters and the like are written as escapes."""
    shown = str(text)
    if len(shown) > MOST_SHOWN:
        shown = f"{shown[:MOST_SHOWN]}..."
    return _escaped(shown)


def printable_lines(text: str) -> str:
    """Return text of several lines, with every character but the line breaks that cannot be shown as an escape."""
    return "\n".join(map(_escaped, text.split("\n")))


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)


def check_kind(what: str, value: object, kinds: type | tuple[type, ...], wanted: str) -> None:
    """See that an argument is of one of some kinds, or None.

    Args:
        what: name of the argument.
        value: that was given.
        kinds: that it may be of.
        wanted: what they are, for the message.

    Raises:
        ConfigError: it is of another kind.

    """
    if value is not None and not isinstance(value, kinds):
        raise ConfigError(f"{what} should be {wanted}, got {type(value).__name__}")


def did_you_mean(asked: str, known: Iterable[str]) -> str:
    """Return a line ``did you mean 'linear'?`` when something known is spelt much alike, else an empty string."""
    close = difflib.get_close_matches(asked, list(known), n=1)
    return f"\ndid you mean {close[0]!r}?" if close else ""


def headline(error: BaseException) -> str:
    """Return the first line of an error; of one that says nothing, as ``MemoryError`` may, its name."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def first_line(error: Exception) -> str:
    """Return the first sentence of an error, which is what tells; libraries go on about their own arguments."""
    return headline(error).split(". ")[0].split(" (")[0]


def reason(error: BaseException) -> str:
    """Return an error's type and what it says, if anything."""
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def shortened(value: Any) -> str:
    """Return how Python would write a value down, without the middle of a long one."""
    shorten = reprlib.Repr()
    shorten.maxstring = shorten.maxother = LONGEST_VALUE
    return shorten.repr(value)


def explain(error: ValidationError, known: Iterable[str], prefix: str = "", what: str = "option") -> str:
    """Say each fault of a pydantic validation in a line: where, what was given, what is allowed.

    Args:
        error: what pydantic raised.
        known: names of the options that exist, for the fault of an unknown one.
        prefix: dotted path before each location, such as ``"positional."``.
        what: what an unknown name is called, such as ``"config key"``.

    """
    known = sorted(known)
    details = error.errors(include_url=False)
    unknown = [each["loc"] for each in details if each["type"] in UNKNOWN]
    lines = [_explain_unknown(unknown, known, prefix, what)] if unknown else []
    lines += [_explain_one(each, prefix) for each in details if each["type"] not in UNKNOWN]
    more = [f"and {len(lines) - MOST_FAULTS} more faults"] if len(lines) > MOST_FAULTS else []
    return "\n".join([*lines[:MOST_FAULTS], *more])


def _explain_unknown(places: list[tuple[int | str, ...]], known: list[str], prefix: str, what: str) -> str:
    """Name the unknown keys, or the first few of many, and once those that exist."""
    named = places[:MOST_NAMES]
    names = ", ".join(shortened(_dotted(prefix, place)) for place in named)
    kind, option, colon = what.partition("option")  # "option of noise schedule 'file':"
    several = f"{kind}options{colon}" if option else f"{what}s"
    more = f" and {len(places) - MOST_NAMES} more" if len(places) > MOST_NAMES else ""
    hints = "".join(did_you_mean(str(place[-1])[:LONGEST_VALUE], known) for place in named)
    return f"unknown {what if len(places) == 1 else several} {names}{more}; known: {', '.join(known)}{hints}"


def _explain_one(detail: ErrorDetails, prefix: str) -> str:
    name = _dotted(prefix, detail["loc"])
    if detail["type"] == "missing":
        return f"{name} has to be given: there is no default for it"
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if detail["type"] == "value_error":
        return f"{name}: {message}" if name else message
    return f"{name} should be {message}, got {shortened(detail['input'])}"


def _dotted(prefix: str, place: tuple[int | str, ...]) -> str:
    return (prefix + ".".join(str(part) for part in place)).rstrip(".")
