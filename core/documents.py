"""Plain data from text and back: YAML, JSON and TOML, all with the same limits.

YAML is read by the core schema of YAML 1.2, in which ``1e-05`` is a number and ``on``, ``010`` and ``1:30`` are what
they look like. It is written so that readers of YAML 1.1 find the same values.
"""

from __future__ import annotations

import codecs
import json
import math
import re
import stat
import tomllib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import yaml

MOST_BYTES = 2**20
MOST_VALUES = 50_000  # an alias counts as often as it is used
MOST_DIGITS = 400
MOST_LEVELS = 40
TOO_DEEP = f"a value is nested more than {MOST_LEVELS} levels deep"
TOO_MUCH = f"more than {MOST_VALUES:,} values, counting each use of an alias"
CORE = "tag:yaml.org,2002:"
ODD_BREAKS = "[\x85\u2028\u2029]"

# Tag → how a plain scalar of it looks, and the characters it may begin with (YAML 1.2.2, section 10.3.2).
SCALARS = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+0123456789."),
    ),
    "merge": (r"<<", ["<"]),
}
# Strings and comments of JSON and TOML; one that is not closed goes on to the end, so that no text takes long.
STRINGS = re.compile(
    r""""{3}(?:\\.|(?!"{3}).)*+(?:"{3,5})?|'{3}(?:(?!'{3}).)*+(?:'{3,5})?|"(?:\\.|[^"\\\n])*+"?|'[^'\n]*+'?|#[^\n]*+""",
    re.DOTALL,
)
WHOLE_NUMBER = re.compile(r"(?<![\w.])(?:0[xob][0-9a-fA-F_]|[0-9])[0-9a-fA-F_]*+(?![\w.])")


class _Loader(yaml.SafeLoader):
    """Reads YAML 1.2, and counts what it reads before anything is built of it."""

    # Filled below, in place of those of YAML 1.1.
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012
    yaml_constructors: ClassVar[dict[Any, Any]] = {}

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._level = self._values = 0
        self._sizes: dict[int, int] = {}  # of the values that are whole, by the identity of their nodes

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a value.

        Raises:
            ComposerError: it contains itself, too many levels, or a key twice.
            ValueError: it contains too many values.

        """
        self._level += 1
        self._values += 1
        is_alias, mark = self.check_event(yaml.AliasEvent), self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self._level > MOST_LEVELS:
            raise yaml.composer.ComposerError(None, None, TOO_DEEP, mark)
        if self._values > MOST_VALUES:
            raise ValueError(f"line {mark.line + 1} holds {TOO_MUCH}")
        node = super().compose_node(parent, index)
        self._level -= 1
        if node is None or id(node) in self._sizes:
            return node
        if is_alias:
            raise yaml.composer.ComposerError(None, None, "a value contains itself", mark)
        self._sizes[id(node)] = 1 + sum(self._sizes[id(inner)] for inner in _inside(node))
        if self._sizes[id(node)] > MOST_VALUES:
            raise ValueError(f"line {mark.line + 1} holds {TOO_MUCH}")
        if isinstance(node, yaml.MappingNode):
            keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.tag != CORE + "merge"]
            _refuse_twice(map(self.construct_object, keys), mark)
        return node

    def scalar(self, node: yaml.ScalarNode) -> int | float | bool | None:
        """Return what a plain scalar means, or one that has a tag.

        Raises:
            ConstructorError: its text is not of that tag.
            ValueError: it is a number of too many digits.

        """
        kind, text = node.tag.removeprefix(CORE), str(self.construct_scalar(node))
        if not re.fullmatch(SCALARS[kind][0], text):
            raise yaml.constructor.ConstructorError(None, None, f"{text[:40]!r} is no {kind}", node.start_mark)
        if kind == "int" and len(text) > MOST_DIGITS:
            raise ValueError(_too_long(node.start_mark.line + 1, len(text)))
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        if kind == "int":
            return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
        return float(re.sub(r"\.(?=inf|nan)", "", text.lower()))


for _tag, (_pattern, _first) in SCALARS.items():
    _Loader.add_implicit_resolver(CORE + _tag, re.compile(f"(?:{_pattern})$"), _first)
    if _tag != "merge":
        _Loader.add_constructor(CORE + _tag, _Loader.scalar)
for _tag in ("str", "seq", "map"):
    _Loader.add_constructor(CORE + _tag, getattr(_Loader, f"construct_yaml_{_tag}"))
_Loader.add_constructor(None, _Loader.construct_undefined)  # type: ignore[type-var]


class _Dumper(yaml.SafeDumper):
    """Quotes what any version of YAML would take for something other than text."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write everything where it stands."""
        return True


_Dumper.add_implicit_resolver(CORE + "float", re.compile(f"(?:{SCALARS['float'][0]})$"), SCALARS["float"][1])
_Dumper.add_implicit_resolver(CORE + "int", re.compile(f"(?:{SCALARS['int'][0]})$"), SCALARS["int"][1])


_Dumper.add_representer(
    str,  # within quotes that escape nothing, odd line breaks would become spaces
    lambda dumper, text: dumper.represent_scalar(
        CORE + "str", text, style='"' if re.search(ODD_BREAKS, text) else None
    ),
)


class _LineDumper(_Dumper):
    """Quotes all text, so that line breaks and odd characters are escaped."""


_LineDumper.add_representer(str, lambda dumper, text: dumper.represent_scalar(CORE + "str", text, style='"'))


def read_yaml(text: str) -> Any:
    """Return what a document in YAML 1.2 holds.

    Raises:
        ValueError: it is not valid, names a key twice, holds too much or is nested too deep.

    """
    try:
        return yaml.load(text, _Loader)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).replace('in "<unicode string>", ', "at ").split())) from None


def write_yaml(data: Any) -> str:
    """Return plain data as a document that :func:`read_yaml` turns into equal data."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def on_one_line(value: Any) -> str:
    """Return plain data as YAML without line breaks; text is left bare where that reads as itself."""
    if isinstance(value, str) and _reads_as_itself(value):
        return value
    line = yaml.dump(
        value, Dumper=_LineDumper, sort_keys=False, allow_unicode=True, default_flow_style=True, width=math.inf
    )
    return line.strip().removesuffix("...").strip()


def _reads_as_itself(text: str) -> bool:
    try:
        return text.isprintable() and bool(read_yaml(text) == text)
    except ValueError:
        return False


def read_json(text: str) -> Any:
    """Return what a JSON document holds.

    Raises:
        ValueError: it is not valid, names a key twice, holds too much or is nested too deep.

    """

    def without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        _refuse_twice(key for key, _ in pairs)
        return dict(pairs)

    _check_digits(_without_strings(text))
    try:
        data = json.loads(text, object_pairs_hook=without_doubles)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    _check_levels(data)
    return data


def read_toml(text: str) -> dict[str, Any]:
    """Return what a TOML document holds.

    Raises:
        ValueError: it is not valid, holds too much or is nested too deep.

    """
    bare = _without_strings(text)
    _check_digits(bare)
    # The time that tomllib takes grows with the square of the parts of a dotted key.
    if any(piece.count(".") >= MOST_LEVELS for piece in re.split(r"[^\w.\- \t]", bare)):
        raise ValueError(TOO_DEEP)
    try:
        data = tomllib.loads(text)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    _check_levels(data)
    return data


def read_text(path: Path) -> str:
    """Return the text of a file that is not larger than documents are.

    Raises:
        OSError: the system refuses, or it is no regular file.
        ValueError: it is too large, or is no text in UTF-8.

    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(None, "Is a directory" if path.is_dir() else "It is no regular file")
    with path.open("rb") as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ValueError(f"it is larger than {MOST_BYTES} bytes")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError("it is text in UTF-16; save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is no text in UTF-8: byte {error.start} is {data[error.start]:#04x}") from None


def _inside(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [inner for pair in node.value for inner in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _refuse_twice(keys: Iterable[Any], mark: yaml.Mark | None = None) -> None:
    twice = [key for key, times in Counter(keys).items() if times > 1]
    if twice:
        problem = f"key {str(twice[0])[:40]!r} is given twice"
        raise ValueError(problem) if mark is None else yaml.constructor.ConstructorError(None, None, problem, mark)


def _without_strings(text: str) -> str:
    """Return JSON or TOML with a word in place of each string and comment, on as many lines."""
    return STRINGS.sub(lambda found: "_" + "\n" * found[0].count("\n"), text)


def _check_digits(bare: str) -> None:
    for number in WHOLE_NUMBER.finditer(bare):
        if len(number[0]) > MOST_DIGITS:
            raise ValueError(_too_long(bare.count("\n", 0, number.start()) + 1, len(number[0])))


def _too_long(line: int, digits: int) -> str:
    return f"line {line} holds a number of {digits} digits; the limit is {MOST_DIGITS}"


def _check_levels(data: Any, level: int = 1) -> None:
    if level > MOST_LEVELS:
        raise ValueError(TOO_DEEP)
    if isinstance(data, dict | list):
        for value in data.values() if isinstance(data, dict) else data:
            _check_levels(value, level + 1)
