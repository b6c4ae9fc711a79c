"""Changes the formulas one at a time, and sees whether a test notices: run by hand before a release, `make mutants`.

A mutant is one change of a source file: another operator or comparison, a number one more, min for max, ceil for round,
arguments turned round, a condition turned round, a default dropped. It is caught if the tests of its folder fail. They
run in a fork of a process that has the libraries, on a copy of the repository, with the examples of the profile
"quick". Results are kept, and a mutant whose source has not changed is tried again only if it survived.

    python tests/mutants.py                          everything, which takes hours
    python tests/mutants.py --sample 40 --seed 1     forty of them, drawn at random
    python tests/mutants.py --file positional/yarn.py --list
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT = 300  # seconds, after which a mutant counts as caught: it may loop for ever
# The tests that are to notice, the quick ones first.
TESTS = {
    "positional/": "loops formulas positional positional_more",
    "schedules/": "loops formulas schedules schedules_more",
    "plugins/attention/": "loops formulas windows fuse far_attention spectral looped",
    "plugins/sampling/": "loops formulas sampling",
    "plugins/context/": "loops formulas context",
    "core/windows.py": "loops formulas windows fuse looped",
    "core/embedding.py": "embedding",
}
SKIPPED = ("plugins/sampling/commands.py",)  # no formulas
NAMES = {"min": "max", "minimum": "maximum", "ceil": "round", "floor": "ceil", "round": "ceil", "argmin": "argmax"}
NAMES |= {"cos": "sin", "sin": "cos", "exp": "log", "any": "all", "all": "any", "clamp_min": "clamp_max", "max": "min"}
OPERATORS: dict[type, type] = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
OPERATORS |= {ast.Pow: ast.Mult, ast.FloorDiv: ast.Div, ast.Mod: ast.FloorDiv, ast.BitOr: ast.BitAnd}
OPERATORS |= {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
SYMMETRIC = {"min", "max", "minimum", "maximum", "promote_types"}  # the order of their arguments does not matter
Change = Callable[[], None]


def changes(node: ast.AST) -> Iterator[tuple[str, Change]]:
    """Yield what may be changed about a node: a word for it, and what changes it in place."""
    match node:
        case ast.BinOp(op=op) | ast.AugAssign(op=op) if type(op) in OPERATORS:
            yield "operator", lambda: setattr(node, "op", OPERATORS[type(op)]())
        case ast.Compare(ops=[op, *_]) if type(op) in OPERATORS:
            yield "comparison", lambda: node.ops.__setitem__(0, OPERATORS[type(op)]())
        case ast.Constant(value=bool(value)):
            yield "switch", lambda: setattr(node, "value", not value)
        case ast.Constant(value=int(value) | float(value)):
            more = 2 * value if isinstance(value, float) and value else value + 1
            yield "number", lambda: setattr(node, "value", more)
        case ast.BoolOp(op=ast.Or(), values=[first, *_]):
            yield "no default", lambda: setattr(node, "values", [first, first])
            yield "always default", lambda: setattr(node, "values", [node.values[-1]] * 2)
        case ast.BoolOp(op=ast.And()):
            yield "and", lambda: setattr(node, "op", ast.Or())
        case ast.UnaryOp(op=ast.USub()):
            yield "sign", lambda: setattr(node, "op", ast.UAdd())
        case ast.IfExp() | ast.If():
            yield "condition", lambda: setattr(node, "test", ast.UnaryOp(ast.Not(), node.test))
        case ast.Call(func=ast.Name() | ast.Attribute() as function, args=args):
            label = "id" if isinstance(function, ast.Name) else "attr"
            name = getattr(function, label)
            if name in NAMES:
                yield "function", lambda: setattr(function, label, NAMES[name])
            if name not in SYMMETRIC and len(args) > 1 and ast.dump(args[0]) != ast.dump(args[1]):
                yield "arguments", lambda: setattr(node, "args", [args[1], args[0], *args[2:]])


def parts(node: ast.AST) -> list[ast.AST]:
    """Return what belongs to the formulas below a node: no types, texts, refusals, or bounds of options."""
    match node:
        case ast.Import() | ast.ImportFrom() | ast.Raise() | ast.Assert() | ast.JoinedStr():
            return []
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return []
        case ast.FunctionDef(args=args, body=body):
            return [*args.defaults, *(each for each in args.kw_defaults if each), *body]
        case ast.AnnAssign(value=value):
            return [value] if value else []
        case ast.Call(func=ast.Name(id="Field"), keywords=keywords):
            return [word.value for word in keywords if word.arg == "default"]
    return list(ast.iter_child_nodes(node))


def formulas(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a node and all those below that belong to the formulas, always in the same order."""
    yield node
    for part in parts(node):
        yield from formulas(part)


def mutants(path: Path) -> dict[str, str]:
    """Return the mutants of a source file: its changed text by a name that says where and what was changed."""
    source, found = path.read_text(), {}
    for number, node in enumerate(formulas(ast.parse(source))):
        for kind, _ in changes(node):
            tree = ast.parse(source)
            same = list(formulas(tree))[number]
            dict(changes(same))[kind]()
            where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}:{getattr(node, 'col_offset', 0)}"
            before, after = (ast.unparse(each).splitlines()[0][:100] for each in (node, same))
            found[f"{where} {kind}: {before} -> {after}"] = ast.unparse(tree)
    return found


def passes(copied: Path, tests: list[str]) -> bool:
    """Return whether tests pass on the copy, in a fork of this process, which has not loaded longtake."""
    child = os.fork()
    if child == 0:
        os.setsid()
        os.chdir(copied)
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
        import pytest

        os._exit(int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests])))
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.1)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def tests_of(name: str) -> list[str]:
    """Return the test files that are to notice a mutant."""
    listed = next(tests for place, tests in TESTS.items() if name.startswith(place))
    return [f"tests/test_{each}.py" for each in listed.split()]


def sources() -> list[Path]:
    """Return the files with formulas."""
    found = [
        path for place in TESTS for path in ([ROOT / place] if place.endswith(".py") else (ROOT / place).glob("*"))
    ]
    return sorted(path for path in found if path.suffix == ".py" and path.relative_to(ROOT).as_posix() not in SKIPPED)


def main() -> None:
    """Try mutants and print those that no test noticed, and the share that was caught."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", type=Path, action="append", help="Only of this file; may be given again.")
    parser.add_argument("--sample", type=int, help="Only so many, drawn at random.")
    parser.add_argument("--seed", type=int, default=0, help="Of the draw.")
    parser.add_argument("--results", type=Path, default=ROOT / "build" / "mutants.json", help="Where results are kept.")
    parser.add_argument("--list", action="store_true", help="Name the mutants and try none.")
    asked = parser.parse_args()
    files = [each.resolve() for each in asked.file] if asked.file else sources()
    drawn = {name: (path, text) for path in files for name, text in mutants(path).items()}
    # Drawn by digests, so that a change of one file leaves the sample of the others as it was.
    names = sorted(drawn, key=lambda name: digest(f"{asked.seed} {name}"))[: asked.sample]
    if asked.list:
        print(*names, sep="\n")
        return
    results = json.loads(asked.results.read_text()) if asked.results.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder) / "longtake"
        tracked = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True)
        for name in tracked.splitlines():
            (copied / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copied / name)
        warm_up(folder)
        for tests in {tuple(tests_of(name)) for name in names}:
            if not passes(copied, list(tests)):
                sys.exit(f"without any mutant, tests fail or take more than {TIMEOUT} s: pytest {' '.join(tests)}")
        caught = 0
        for number, name in enumerate(names, 1):
            path, text = drawn[name]
            place, key = copied / path.relative_to(ROOT), digest(name + text)
            if not results.get(key):
                place.write_text(text)
                results[key] = not passes(copied, tests_of(name))
                shutil.copy(path, place)
                asked.results.parent.mkdir(exist_ok=True)
                asked.results.write_text(json.dumps(results))
            caught += results[key]
            print(f"{number}/{len(names)} {'caught  ' if results[key] else 'SURVIVED'} {name}", flush=True)
    print(f"{caught} of {len(names)} caught, {caught / max(1, len(names)):.0%}")


def digest(text: str) -> str:
    """Return a text's digest."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def warm_up(folder: str) -> None:
    """Load the libraries, so that a fork has them; longtake itself is loaded from the copy, in each fork anew."""
    sys.path.insert(0, folder)
    sys.dont_write_bytecode = True  # a mutant within the second of the last one would not be seen
    os.environ |= {"LONGTAKE_TESTS": "quick", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": folder}
    import diffusers
    import hypothesis
    import transformers

    _ = diffusers.StableVideoDiffusionPipeline, transformers.CLIPVisionModelWithProjection, hypothesis.given


if __name__ == "__main__":
    main()
