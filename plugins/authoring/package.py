"""Write the package of a new plugin."""

from __future__ import annotations

import keyword
import re
import shutil
from importlib.metadata import version
from pathlib import Path

from ...core.errors import LongtakeError, OutputError
from ...core.files.claims import part_of
from ...core.files.whole import make_folder
from ...core.manager import load_plugins
from .templates import MODULE, PYPROJECT, README, STRATEGIES, TEST

LONGEST = 50
NO_NAMES = ("null", "true", "false", "yes", "no", "on", "off")  # what YAML takes for something else


def write_package(name: str, kind: str, folder: Path) -> Path:
    """Write a package with one strategy of a kind, a test and a README, and return its folder.

    Args:
        name: of the strategy, such as "my-positions".
        kind: of strategy.
        folder: in which the package's own folder, longtake-NAME, is made.

    Raises:
        LongtakeError: the name cannot be one, or is taken.
        OutputError: the folder is there already, or cannot be made.

    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or keyword.iskeyword(name):
        raise LongtakeError(
            f"{name!r} cannot be the name of a plugin; use small letters, digits and -, such as my-idea"
        )
    if len(name) > LONGEST:
        raise LongtakeError(
            f"{name[:20]}… cannot be the name of a plugin: it has {len(name)} letters, of at most {LONGEST}"
        )
    manager, registry = load_plugins()
    plain = name.removeprefix("longtake-")
    if plain in registry.classes[kind] or manager.has_plugin(plain) or plain in NO_NAMES:
        raise LongtakeError(
            f"{plain!r} is taken already, by a {kind} strategy or a plugin that is there; choose another name"
        )
    package = f"longtake-{name.removeprefix('longtake-')}"
    target = folder / package
    if target.exists():
        raise OutputError(f"{target} exists; choose another name, or remove it")
    code = STRATEGIES[kind]
    words = {
        "name": name.removeprefix("longtake-"),
        "kind": kind,
        "package": package,
        "module": package.replace("-", "_"),
        "Class": "".join(part.title() for part in name.removeprefix("longtake-").split("-")),
        "summary": code.split('"""')[1],
        "version": ".".join(version("longtake").split(".")[:2]),
    }
    words["imports"] = _imports_in_order(_filled(code, words))
    files = {"pyproject.toml": PYPROJECT, f"{words['module']}.py": MODULE, "README.md": README}
    files[f"test_{words['module']}.py"] = TEST
    part = part_of(target)
    make_folder(part)
    try:
        for file, text in files.items():
            (part / file).write_text(_filled(text, words), encoding="utf-8")
        part.rename(target)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target


def _imports_in_order(code: str) -> str:
    """Put pydantic's import where a formatter would: before torch and longtake, after what Python has."""
    line = "from pydantic import Field\n"
    if "import torch\n" in code:
        return code.replace("import torch\n", f"import torch\n{line}", 1)
    return code.replace("import longtake\n", f"{line}\nimport longtake\n", 1)


def _filled(text: str, words: dict[str, str]) -> str:
    """Return a template with its words filled in; other braces stay."""
    for word, value in words.items():
        text = text.replace(f"{{{word}}}", value)
    return text
