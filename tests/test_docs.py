"""The documentation is true: its code runs, its commands parse, its lists name what exists."""

from __future__ import annotations

import json
import re
import shlex
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import yaml

import longtake
from longtake.core import hookspecs
from longtake.core.manager import add_plugin
from longtake.core.testing import check_strategy

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def documents() -> list[Path]:
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.fixture
def elsewhere(tmp_path, picture, monkeypatch, tiny_folder):
    """A folder with a photo and a model in it, as a reader of the README has."""
    for name in ("photo.jpg", "other.jpg"):
        picture.save(tmp_path / name)
    with longtake.open_video(tmp_path / "clip.mp4", fps=7, frames=5) as video:
        for _ in range(5):
            video.write(np.asarray(picture.resize((32, 32))))
    (tmp_path / "path" / "to").mkdir(parents=True)
    for name in ("svd-xt", "path/to/svd-xt"):
        (tmp_path / name).symlink_to(tiny_folder)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_python_call_of_the_readme_runs(elsewhere):
    call, pieces = (code for code in blocks(README, "python") if "import longtake" in code and "hookimpl" not in code)
    names: dict[str, object] = {}
    # The small model has no weights in half precision, and no GPU is needed.
    for of_a_gpu in (', torch_dtype=torch.float16, variant="fp16"', 'pipeline.to("cuda")\n'):
        assert of_a_gpu in call
        call = call.replace(of_a_gpu, "")
    exec(call, names)
    frames = names["result"].frames
    assert frames.shape[0] == 56
    exec(pieces, {})


def test_the_truth_of_the_proving_ground_is_as_its_page_says():
    (code,) = blocks((ROOT / "docs" / "proving-ground.md").read_text(encoding="utf-8"), "python")
    names: dict[str, object] = {}
    exec(code, names)
    assert names["truth"].velocities_FN2.shape == (56, 1, 2)


def test_the_plugin_of_the_readme_works():
    code = next(code for code in blocks(README, "python") if "hookimpl" in code)
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 16
    plugin = types.ModuleType("longtake_ease")
    sys.modules["longtake_ease"] = plugin
    try:
        exec(code, vars(plugin))
        plugins = longtake.load_plugins(third_party=False)
        add_plugin(plugins, plugin, "ease")
        strategy = plugins.registry.build("positional", "ease")
    finally:
        del sys.modules["longtake_ease"]
    check_strategy(strategy)
    import torch

    places = strategy.positions(torch.arange(9.0), longtake.Span(frames=9, trained=4))
    assert places.tolist() == pytest.approx([0, 0.114, 0.439, 0.926, 1.5, 2.074, 2.561, 2.886, 3], abs=1e-3)


def test_the_config_of_the_readme_is_valid():
    (text,) = blocks(README, "yaml")
    registry = longtake.load_plugins(third_party=False).registry
    config = longtake.load_config(yaml.safe_load(text), registry)
    assert config.attention.stride == 4
    assert config.motion.strength == 0.8


COMMANDS = [
    line
    for block in blocks(README, "bash")
    for line in block.splitlines()
    if line.startswith("longtake ") and not ("generate" in line and "path/to" in line)
]


@pytest.mark.parametrize("line", COMMANDS)
def test_the_commands_of_the_readme_work(elsewhere, warm_program, line):
    """As they stand; those that would download SVD are planned instead of generated, and steps are kept few."""
    program, command, *arguments = shlex.split(line, comments=True)
    if "stabilityai" in line:
        command = "plan"
        arguments = [argument.replace("out.mp4", "out.png") for argument in arguments]
    elif command in ("generate", "extend", "tune"):
        arguments += ["--steps", "2"]
    if command == "tune":
        arguments += ["--trials", "1"]
    output = arguments[arguments.index("--out" if command == "tune" else "-o") + 1]
    assert program == "longtake"
    result = warm_program.run(elsewhere, command, *arguments)
    assert result.returncode == 0, result.stderr
    assert (elsewhere / output).stat().st_size > 1000


def test_every_command_of_the_readme_names_a_real_model():
    assert len(COMMANDS) > 8
    assert [line for line in COMMANDS if "--model svd-xt" not in line] == []


def test_the_motion_bucket_of_the_readme_is_the_one_that_the_program_chooses(tmp_path, warm_program):
    frames, chosen, raised = map(
        float, re.search(r"For (\d+) frames of SVD-XT .* (\S+) and raises it to (\d+)", README).groups()
    )
    model = "stabilityai/stable-video-diffusion-img2vid-xt"
    result = warm_program.run(
        tmp_path, "plan", "--model", model, "--frames", f"{frames:.0f}", "--device", "cpu", "--json"
    )
    plan = json.loads(result.stdout)
    assert result.stderr == ""
    assert plan["config"]["motion_bucket"] == chosen
    assert {bucket for step in plan["motion_buckets"] for bucket in step} == {raised}


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_links_within_the_project_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_every_strategy_has_its_section():
    text = (ROOT / "docs" / "strategies.md").read_text(encoding="utf-8")
    for kind, classes in longtake.load_plugins(third_party=False).registry.classes.items():
        for name in classes:
            assert f"### {kind}: {name}\n" in text


def test_the_architecture_names_every_file_of_core_and_nothing_that_is_not_there():
    table = ARCHITECTURE.split("The files of `core/`")[1].split("## ")[0]
    named = set(re.findall(r"`(\w+\.py)`", table))
    files = (ROOT / "core").rglob("*.py")
    assert named == {path.name for path in files} - {"__init__.py"}
    for path in re.findall(r"`((?:core|plugins|positional|schedules|tests)/[\w/.]+)`", ARCHITECTURE):
        assert (ROOT / path).exists(), path


def test_every_hook_says_what_it_is_for():
    hooks = [value for name, value in vars(hookspecs).items() if name.startswith("longtake_")]
    assert len(hooks) == 8
    assert all(len(hook.__doc__) > 40 for hook in hooks)
