"""The project's folder as a node pack of ComfyUI: what it loads, when, and under which name."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

import longtake
from longtake.plugins.comfy.nodes import NODES

ROOT = Path(__file__).parents[1]
CODE = ("core", "plugins", "positional", "schedules", "__init__.py", "pyproject.toml")
COMFYUI_HAS = {"torch", "numpy", "pillow", "psutil", "pyyaml", "safetensors"}
# What ComfyUI does with a folder in custom_nodes; the installed longtake, if there is one, is hidden.
LOADER = """
import importlib.util, json, os, sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name == "longtake":
            raise ModuleNotFoundError("No module named 'longtake'")

sys.meta_path.insert(0, Hidden())
path = os.path.abspath(sys.argv[1])
name = path.replace(".", "_x_")
spec = importlib.util.spec_from_file_location(name, os.path.join(path, "__init__.py"))
module = importlib.util.module_from_spec(spec)
sys.modules[name] = module
spec.loader.exec_module(module)
before = sorted(each for each in sys.modules if "longtake" in each or each in ("torch", "pydantic"))
before = [each for each in before if not each.startswith("__editable__")]
web = hasattr(module, "WEB_DIRECTORY"), hasattr(module, "comfy_entrypoint")
classes, names = module.NODE_CLASS_MAPPINGS, module.NODE_DISPLAY_NAME_MAPPINGS
import longtake  # as a plugin does
positional = classes["Longtake_positional_linear"]().make(start=0.0, stop=1.0, factor=0.0, align="ends")[0]
print(json.dumps({
    "name": name,
    "before": before,
    "web": web,
    "nodes": {each: names[each] for each in classes},
    "again": module.NODE_CLASS_MAPPINGS is classes,
    "same": isinstance(positional, longtake.PositionalStrategy),
    "files": sorted({os.path.realpath(each.__file__) for each in sys.modules.values()
                     if getattr(each, "__name__", "").startswith("longtake.") and getattr(each, "__file__", None)}),
    "others": sorted({each.split(".")[0] for each in sys.modules} - set(sys.stdlib_module_names)),
    "inputs": {each: {key: [value[0] for value in group.values()] for key, group in cls.INPUT_TYPES().items()}
               for each, cls in classes.items()},
}))
"""


EASE = """
import longtake

class Ease(longtake.PositionalStrategy):
    name = "ease"

    def positions(self, frames_F, span):
        return frames_F / 2

@longtake.hookimpl
def longtake_register_strategies(register):
    register(Ease)
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """What ComfyUI sees of the folder, cloned under a name that is no name of a module."""
    folder = tmp_path_factory.mktemp("custom_nodes") / "longtake-nodes.v2"
    folder.mkdir()
    for part in CODE:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, folder / part)
    site = tmp_path_factory.mktemp("site")  # where a plugin of longtake is installed, and no longtake
    (site / "longtake_ease.py").write_text(EASE)
    (site / "ease-1.0.dist-info").mkdir()
    (site / "ease-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: ease\nVersion: 1.0\n")
    (site / "ease-1.0.dist-info" / "entry_points.txt").write_text("[longtake]\nease = longtake_ease\n")
    done = subprocess.run(
        [sys.executable, "-c", LOADER, folder],
        capture_output=True,
        text=True,
        cwd=folder.parent,
        env=os.environ | {"PYTHONPATH": str(site)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) | {"folder": str(folder.resolve())}


def test_the_folder_is_a_node_pack_under_any_name_and_without_an_installed_longtake(loaded):
    assert set(NODES) < set(loaded["nodes"])
    assert loaded["nodes"]["LongtakeMakeItLong"] == "Longtake: make it long"
    assert all(title.startswith("Longtake") for title in loaded["nodes"].values())
    assert loaded["web"] == [False, False]
    assert loaded["again"]


def test_nothing_is_imported_until_comfyui_asks_for_nodes(loaded):
    assert loaded["before"] == [loaded["name"]]


def test_plugins_that_import_longtake_get_the_classes_of_the_node_pack(loaded):
    assert loaded["same"]
    assert loaded["nodes"]["Longtake_positional_ease"] == "Longtake positional options: ease"
    assert "ease" in loaded["inputs"]["LongtakePositional"]["required"][1]
    assert loaded["files"]
    assert all(file.startswith(loaded["folder"]) for file in loaded["files"])


def test_nodes_need_no_more_than_the_requirements_file_says(loaded):
    """Managers of ComfyUI install what stands in requirements.txt; nodes need no diffusers and no transformers."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    required = [line for line in lines if line and not line.startswith("#")]
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert set(required) <= set(stated)
    assert not {"diffusers", "transformers", "accelerate", "comfy"} & set(loaded["others"])
    modules = {"pyyaml": "yaml", "pillow": "PIL", "rich-click": "rich_click"}
    names = {re.split(r"[\[>=]", line)[0] for line in required}
    ours = {re.split(r"[\[>=]", line)[0] for line in stated} - names - COMFYUI_HAS
    assert not {modules.get(name, name) for name in ours} & set(loaded["others"])


def test_the_folder_is_described_to_comfyui_and_its_workflows_lie_where_they_are_looked_for():
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())
    comfy = data["tool"]["comfy"]
    assert set(comfy) == {"PublisherId", "DisplayName", "Icon", "requires-comfyui"}
    assert SpecifierSet(comfy["requires-comfyui"]).contains("0.3.64")
    assert (ROOT / "example_workflows" / "make-it-long.json").is_file()
    # They are of the cloned folder, and of no use in an installed package.
    assert not any("example_workflows" in each for each in data["tool"]["setuptools"]["packages"])


def test_nothing_else_of_longtake_imports_the_nodes():
    files = [path for folder in CODE[:4] for path in (ROOT / folder).rglob("*.py") if path.parent.name != "comfy"]
    assert not [
        path for path in files if "comfy" in path.read_text(encoding="utf-8").lower().replace("for comfyui", "")
    ]
    assert longtake.NODE_CLASS_MAPPINGS.keys() == longtake.NODE_DISPLAY_NAME_MAPPINGS.keys()
