"""The structure holds itself: imports go one way, files stay short, the package is complete."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("core", "plugins", "positional", "schedules")
MAY_IMPORT = {
    "core": {"core"},
    "positional": {"core", "positional"},
    "schedules": {"core", "schedules"},
    "plugins": {"core", "plugins", "positional", "schedules"},
}
FILES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def imports(path: Path) -> list[tuple[int, str]]:
    """Return (level, dotted name) of each import in a file."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            found += [(node.level, f"{node.module or ''}.{alias.name}".strip(".")) for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [(0, alias.name) for alias in node.names]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_are_relative_and_go_one_way(path):
    parts = path.relative_to(ROOT).parts
    for level, name in imports(path):
        if level == 0:
            assert name.split(".")[0] not in (*FOLDERS, "longtake"), f"import {name} must be relative"
            continue
        target = (*parts[:-1][: len(parts) - level], *name.split("."))
        assert target[0] in MAY_IMPORT[parts[0]], f"{parts[0]} must not import {'.'.join(target)}"


def modules() -> dict[str, set[str]]:
    """Return for each of our modules those that it imports when it is itself imported."""
    graph: dict[str, set[str]] = {}
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in FILES}
    for path in FILES:
        parts = path.relative_to(ROOT).with_suffix("").parts
        graph[".".join(parts)] = set()
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and node.level:
                base = (*parts[: len(parts) - node.level], *(node.module or "").split("."))
                for alias in node.names:
                    joined = ".".join(part for part in base if part)
                    graph[".".join(parts)] |= {joined, f"{joined}.{alias.name}"} & names
    return graph


def test_there_are_no_cycles():
    graph, done = modules(), set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"cycle: {' -> '.join((*path, name))}"
        if name not in done:
            for other in graph[name]:
                visit(other, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())
    assert len(done) == len(FILES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_short(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert length <= 45, f"{node.name} has {length} lines"


def test_every_package_with_code_is_in_the_wheel():
    stated = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {"longtake"} | {
        ".".join(("longtake", *init.parent.relative_to(ROOT).parts))
        for folder in FOLDERS
        for init in (ROOT / folder).rglob("__init__.py")
    }
    assert stated == found
    with_code = {path.parent for path in FILES}
    assert all((folder / "__init__.py").exists() for folder in with_code)


def test_the_public_face_is_said_once_and_the_same():
    """What editors see under TYPE_CHECKING is what is looked up when it is used."""
    import longtake

    tree = ast.parse((ROOT / "__init__.py").read_text())
    seen = {
        (node.module, alias.name)
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == {(home, name) for name, home in longtake._HOME_OF.items()}


def test_importing_longtake_loads_neither_models_nor_diffusers():
    import subprocess
    import sys

    code = (
        "import sys, longtake; longtake.load_plugins(third_party=False); longtake.Span(3, 4); "
        "print([name for name in ('diffusers', 'transformers', 'matplotlib') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
