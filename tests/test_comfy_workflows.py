"""The example workflows: as the script writes them, true to the nodes, and they run."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from comfy_model import PATCHERS
from comfy_stock_nodes import stock_nodes

import longtake
from longtake.plugins.comfy.nodes import mappings

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "example_workflows").glob("*.json"))
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN")
OURS = mappings(longtake.load_plugins(third_party=False).registry)[0]
# So that a run takes no time: what the widgets say instead.
SMALL = {"trained_frames": 4, "video_frames": 9, "width": 64, "height": 48, "steps": 2}
SHORT = {
    "Longtake_attention_freenoise": {"window": "4", "stride": "2"},
    "Longtake_sampling_freeinit": {"iterations": 2},
}


def is_widget(type_) -> bool:
    return isinstance(type_, list) or type_ in WIDGETS


def inputs_of(cls) -> dict[str, tuple]:
    declared = cls.INPUT_TYPES()
    return declared["required"] | declared.get("optional", {})


def widgets_of(cls) -> list[tuple[str, object, dict]]:
    """Return the values that a node keeps: one for each widget, and those of the controls that the editor adds."""
    found = []
    for name, (type_, *rest) in inputs_of(cls).items():
        if is_widget(type_):
            settings = rest[0] if rest else {}
            found.append((name, type_, settings))
            if settings.get("control_after_generate"):
                found.append(("control", ["fixed", "increment", "decrement", "randomize"], {}))
            if settings.get("image_upload"):
                found.append(("upload", ["image"], {}))
    return found


@pytest.fixture(scope="module")
def stock(tiny_model):
    return stock_nodes(tiny_model.pipeline.unet, [])


def script():
    spec = importlib.util.spec_from_file_location("comfyui_workflows", ROOT / "docs" / "comfyui_workflows.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_is_a_workflow_for_every_ability_and_it_is_up_to_date():
    made = script()
    names = {"make-it-long", "position-scaling", "key-scale", "attention-windows", "attention-scale", "noise-shuffling"}
    assert names | {"loop", "freeinit", "guidance-and-plan"} == {path.stem for path in FILES} == set(made.WORKFLOWS)
    for path in FILES:
        assert path.read_text(encoding="utf-8") == made.workflow(path.stem), "run: make docs"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_workflows_fit_the_nodes(path, stock):
    data = json.loads(path.read_text(encoding="utf-8"))
    known, nodes = OURS | stock, {node["id"]: node for node in data["nodes"]}
    links = {link[0]: link for link in data["links"]}
    assert any(node["type"] in OURS for node in nodes.values())
    assert len(nodes) == len(data["nodes"]) == data["last_node_id"]
    assert len(links) == len(data["links"]) == data["last_link_id"]
    ends = {(link, "from") for link in links} | {(link, "to") for link in links}
    for node in nodes.values():
        cls = known[node["type"]]
        sockets = [(name, type_) for name, (type_, *_) in inputs_of(cls).items() if not is_widget(type_)]
        assert [(each["name"], each["type"]) for each in node["inputs"]] == sockets
        assert [each["type"] for each in node["outputs"]] == list(cls.RETURN_TYPES)
        for number, socket in enumerate(node["inputs"]):
            if socket["link"] is None:
                assert socket["name"] in cls.INPUT_TYPES().get("optional", {}), f"{node['type']} lacks {socket['name']}"
                continue
            _, source, slot, target, place, type_ = links[socket["link"]]
            assert (target, place, type_) == (node["id"], number, socket["type"])
            assert nodes[source]["outputs"][slot]["type"] == type_
            assert nodes[source]["order"] < node["order"]
            ends.remove((socket["link"], "to"))
        for slot, output in enumerate(node["outputs"]):
            for link in output["links"]:
                assert links[link][1:3] == [node["id"], slot]
                ends.remove((link, "from"))
        widgets = widgets_of(cls)
        assert len(node["widgets_values"]) == len(widgets), node["type"]
        for (name, type_, settings), value in zip(widgets, node["widgets_values"], strict=True):
            check_value(f"{node['type']}.{name}", type_, settings, value)
    assert not ends


def check_value(where, type_, settings, value):
    if isinstance(type_, list):
        assert value in type_, where
    elif type_ in ("INT", "FLOAT"):
        assert isinstance(value, int if type_ == "INT" else (int, float)), where
        assert settings.get("min", value) <= value <= settings.get("max", value), where
    else:
        assert isinstance(value, str if type_ == "STRING" else bool), where


def run(path: Path, unet, patcher) -> tuple[list[torch.Tensor], dict[str, object]]:
    """Run a workflow as ComfyUI does, small; return what it shows, and what each of our nodes gave."""
    shown: list[torch.Tensor] = []
    data = json.loads(path.read_text(encoding="utf-8"))
    known, links, made, ours = OURS | stock_nodes(unet, shown, patcher), {}, {}, {}
    for link, source, slot, *_ in data["links"]:
        links[link] = source, slot
    for node in sorted(data["nodes"], key=lambda node: node["order"]):
        cls = known[node["type"]]
        given = {name: value for (name, *_), value in zip(widgets_of(cls), node["widgets_values"], strict=True)}
        given = {name: value for name, value in given.items() if name not in ("control", "upload")}
        given |= {name: SMALL[name] for name in given if name in SMALL} | SHORT.get(node["type"], {})
        for socket in node["inputs"]:
            if socket["link"] is not None:
                source, slot = links[socket["link"]]
                given[socket["name"]] = made[source][slot]
        made[node["id"]] = getattr(cls(), cls.FUNCTION)(**given)
        if node["type"] in OURS:
            ours[node["type"]] = made[node["id"]]
    return shown, ours


@pytest.fixture(scope="module", params=PATCHERS, ids=lambda each: each.__name__)
def patcher(request):
    """The two ways in which versions of ComfyUI clone a model."""
    return request.param


@pytest.fixture(scope="module")
def runs(tiny_model, patcher):
    return {path.stem: run(path, tiny_model.pipeline.unet, patcher) for path in FILES}


@pytest.mark.parametrize("name", [path.stem for path in FILES])
def test_workflows_run_and_each_does_something_else(runs, name):
    shown, ours = runs[name]
    assert ours
    frames = next(each for each in shown if len(each) == 9)
    assert frames.shape == (9, 4, 6, 8)
    assert torch.isfinite(frames).all()
    for other, (others, _) in runs.items():
        assert other == name or not any(torch.equal(frames, each) for each in others)


def test_the_plan_of_a_workflow_is_shown(runs):
    pictures = [each for each in runs["guidance-and-plan"][0] if each.shape[-1] == 3]
    assert [len(each) for each in pictures] == [1]
    assert pictures[0].shape[1] > 300


def test_a_workflow_that_is_run_again_gives_the_same(runs, tiny_model, patcher):
    again, _ = run(next(path for path in FILES if path.stem == "freeinit"), tiny_model.pipeline.unet, patcher)
    assert torch.equal(again[0], runs["freeinit"][0][0])
