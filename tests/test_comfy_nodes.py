"""The node pack: how ComfyUI finds it, its drop-downs and widgets, and what its nodes make of them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Literal

import pytest
import torch
import yaml
from comfy_stand_ins import FRAMES, TRAINED, Euler, ModelPatcher, SVD_img2vid, karras, sampled, told
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import Field

import longtake
from longtake import GuidanceSchedule, PositionalStrategy
from longtake.core.course import ONE, AnyCourse
from longtake.core.errors import ConfigError
from longtake.core.named import Positional
from longtake.core.testing import example_options
from longtake.plugins.comfy import preview
from longtake.plugins.comfy.node import options_node
from longtake.plugins.comfy.nodes import KINDS, NODES, mappings
from longtake.plugins.comfy.patches import seams_of
from longtake.plugins.comfy.widgets import options_from, sockets_of, widgets_of
from longtake.positional.linear import Linear

ROOT = Path(__file__).parents[1]
CODE = ("core", "plugins", "positional", "schedules", "__init__.py", "pyproject.toml")
COMFYUI_HAS = {"torch", "numpy", "pillow", "psutil", "pyyaml", "safetensors"}
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN")
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


@pytest.fixture(scope="module")
def registry():
    return longtake.load_plugins(third_party=False).registry


@pytest.fixture(scope="module")
def nodes(registry):
    return mappings(registry)[0]


@pytest.fixture(scope="module")
def model(tiny_model):
    return ModelPatcher(SVD_img2vid(tiny_model.pipeline.unet))


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


def test_nothing_else_of_longtake_imports_the_nodes():
    files = [path for folder in CODE[:4] for path in (ROOT / folder).rglob("*.py") if path.parent.name != "comfy"]
    assert not [
        path for path in files if "comfy" in path.read_text(encoding="utf-8").lower().replace("for comfyui", "")
    ]
    assert longtake.NODE_CLASS_MAPPINGS.keys() == longtake.NODE_DISPLAY_NAME_MAPPINGS.keys()


def test_every_strategy_that_has_a_place_in_comfyui_is_offered_with_its_options(nodes, registry):
    for kind in KINDS:
        names = set(registry.classes[kind])
        chooser = nodes[f"Longtake{kind.capitalize()}"].INPUT_TYPES()["required"][kind]
        assert set(chooser[0]) == names
        assert chooser[1]["default"] in names
        for name in names:
            cls = registry.classes[kind][name]
            node = nodes[f"Longtake_{kind}_{name}"]
            inputs = node.INPUT_TYPES()
            assert set(inputs["required"]) | set(inputs["optional"]) == set(cls.model_fields)
            assert (f"LONGTAKE_{kind.upper()}",) == node.RETURN_TYPES
            assert f"longtake/options/{kind}" == node.CATEGORY


@pytest.mark.parametrize("name", sorted(NODES))
def test_nodes_have_what_comfyui_asks_for(nodes, name):
    cls = nodes[name]
    assert cls.CATEGORY == "longtake"
    assert cls.DESCRIPTION
    assert callable(getattr(cls(), cls.FUNCTION))
    assert len(getattr(cls, "RETURN_NAMES", cls.RETURN_TYPES)) == len(cls.RETURN_TYPES)


def declared(nodes):
    for identifier, cls in nodes.items():
        for inputs in cls.INPUT_TYPES().values():
            for name, (type_, *settings) in inputs.items():
                yield f"{identifier}.{name}", type_, settings[0] if settings else {}


def test_widgets_are_of_the_kinds_and_bounds_that_comfyui_knows(nodes):
    for where, type_, settings in declared(nodes):
        if isinstance(type_, list):
            assert settings["default"] in type_, where
        elif type_ in ("INT", "FLOAT"):
            number = int if type_ == "INT" else float
            for key in ("default", "min", "max"):
                assert isinstance(settings[key], number), f"{where} {key}"
            assert settings["min"] <= settings["default"] <= settings["max"], where
        elif type_ in ("STRING", "BOOLEAN"):
            assert isinstance(settings["default"], str if type_ == "STRING" else bool), where
        else:
            assert re.fullmatch(r"[A-Z_]+", type_), where
        if isinstance(type_, list) or type_ in WIDGETS:
            assert settings.get("tooltip") or "seed" in where, where


def defaults(cls):
    return {widget.name: widget.settings["default"] for widget in widgets_of(cls)}


def test_widgets_as_they_are_mean_the_strategys_defaults(registry):
    for kind in KINDS:
        for name, cls in registry.classes[kind].items():
            given_ = defaults(cls) | {
                key: value if isinstance(value, str) else json.dumps(value)
                for key, value in example_options(cls).items()
            }
            expected = registry.build(kind, {"name": name} | example_options(cls))
            assert options_node(registry, cls)().make(**given_) == (expected,), name


class Everything(PositionalStrategy):
    """An option of every kind that there is, as somebody else may have them."""

    name = "everything"
    whole: int = Field(default=3, ge=1, lt=10, description="Whole.")
    part: float = Field(default=0.5, gt=0, le=1, description="Part.")
    free: float = Field(default=-2.0, description="Free.")
    maybe: int | None = Field(default=None, ge=2, description="Maybe.")
    nothing: float | None = Field(default=None, ge=0, description="Nothing.")
    anything: float | None = Field(default=None, description="Anything.")
    way: Literal["here", "there"] = Field(default="there", description="Way.")
    other: Literal["up", "down"] | None = Field(default=None, description="Other.")
    yes: bool = Field(default=True, description="Yes.")
    perhaps: bool | None = Field(default=None, description="Perhaps.")
    word: str = Field(default="word", description="Word.")
    path: Path | None = Field(default=None, description="Path.")
    numbers: tuple[float, ...] = Field(default=(1.0, 2.0), description="Numbers.")
    keys: dict[int, float] = Field(examples=[{0: 1.5}], description="Keys.")
    course: AnyCourse = Field(default=ONE, description="Course.")
    of: Positional = Field(default_factory=Linear, description="Of.")


def everything(registry, **options):
    own = longtake.load_plugins(third_party=False).registry
    own.add(Everything, "third")
    return options_node(own, Everything)().make(**defaults(Everything) | {"keys": "{0: 1}"} | options)[0]


def test_options_of_every_kind_become_widgets(registry):
    widgets = {widget.name: widget for widget in widgets_of(Everything)}
    types = {name: widget.type for name, widget in widgets.items()}
    assert types == {
        "start": "FLOAT", "stop": "FLOAT", "whole": "INT", "part": "FLOAT", "free": "FLOAT", "maybe": "INT",
        "nothing": "FLOAT", "anything": "STRING", "way": ["here", "there"], "other": ["default", "up", "down"],
        "yes": "BOOLEAN", "perhaps": ["default", "true", "false"], "word": "STRING", "path": "STRING",
        "numbers": "STRING", "keys": "STRING", "course": "STRING",
    }  # fmt: skip
    assert sockets_of(Everything) == {"of": "positional"}
    bounds = {
        name: (widgets[name].settings["min"], widgets[name].settings["max"]) for name in ("whole", "part", "maybe")
    }
    assert bounds["whole"] == (1, 9)
    assert bounds["part"] == (0.01, 1.0)
    assert bounds["maybe"][0] == widgets["maybe"].settings["default"] == 0
    assert widgets["nothing"].settings["default"] == -1.0
    assert widgets["maybe"].settings["tooltip"] == "Maybe. 0 leaves it to longtake."
    assert widgets["keys"].settings["tooltip"] == 'Keys. For example: {"0": 1.5}'


def test_values_of_widgets_become_options(registry):
    made = everything(registry)
    assert made == Everything(keys={0: 1})
    changed = everything(
        registry, maybe=5, nothing=0.0, anything="2.5", way="here", other="up", yes=False, perhaps="false", word="",
        path="there.npy", numbers="[3, 4]", keys="{0: 1, 5: 2}", course="{steps: [1, 0.5]}", of=Linear(align="ends"),
    )  # fmt: skip
    assert changed == Everything(
        maybe=5, nothing=0.0, anything=2.5, way="here", other="up", yes=False, perhaps=False,
        path=Path("there.npy"), numbers=(3.0, 4.0), keys={0: 1.0, 5: 2.0}, course={"steps": [1, 0.5]},
        of=Linear(align="ends"),
    )  # fmt: skip


@given(
    number=st.floats(0, 1),
    whole=st.integers(1, 9),
    keys=st.dictionaries(st.integers(0, 99), st.floats(0, 5), min_size=1),
)
def test_numbers_and_mappings_survive_being_widgets(number, whole, keys):
    widgets = widgets_of(Everything)
    options = options_from(widgets, {"start": number, "whole": whole, "keys": yaml.safe_dump(keys)})
    made = Everything.model_validate(options)
    assert (made.start, made.whole, made.keys) == (number, whole, keys)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keys": ""}, "positional.keys has to be given: there is no default for it"),
        ({"keys": "{0: ["}, r"positional.keys must be a number, a list or a mapping in YAML, got '\{0: \['"),
        ({"maybe": 1}, "positional.maybe should be greater than or equal to 2, got 1"),
        ({"start": 0.9, "stop": 0.1}, "start must not be after stop, got start=0.9 with stop=0.1"),
    ],
)
def test_what_does_not_fit_is_said_in_the_words_of_a_config(registry, options, message):
    with pytest.raises(ConfigError, match=message):
        everything(registry, **options)


def test_strategies_of_third_parties_are_offered_like_ours():
    registry = longtake.load_plugins(third_party=False).registry
    registry.add(Everything, "third")
    nodes, titles = mappings(registry)
    assert "everything" in nodes["LongtakePositional"].INPUT_TYPES()["required"]["positional"][0]
    assert titles["Longtake_positional_everything"] == "Longtake positional options: everything"


def test_a_plugin_that_did_not_load_is_named(monkeypatch, caplog):
    from longtake.plugins.comfy import nodes as module

    plugins = longtake.load_plugins(third_party=False)
    plugins.registry.broken["bad"] = "ImportError: no"
    monkeypatch.setattr(module, "load_plugins", lambda: plugins)
    assert mappings()[0].keys() == mappings(plugins.registry)[0].keys()
    assert "plugin 'bad' did not load (ImportError: no)" in caplog.text


def make(nodes, identifier, **inputs):
    """Call a node as ComfyUI does: what is not given is its widget's default."""
    cls = nodes[identifier]
    widgets = {
        name: settings["default"]
        for name, (type_, *rest) in cls.INPUT_TYPES()["required"].items()
        for settings in rest
        if isinstance(type_, list) or type_ in WIDGETS
    }
    made = getattr(cls(), cls.FUNCTION)(**widgets | inputs)
    assert len(made) == len(cls.RETURN_TYPES)
    return made


def latents(frames=FRAMES):
    return {"samples": torch.zeros(frames, 4, 6, 8)}


def test_a_connected_strategy_takes_the_place_of_the_chosen_one(nodes, model):
    (ends,) = make(nodes, "Longtake_positional_linear", align="ends")
    (with_ends,) = make(
        nodes, "LongtakePositional", model=model, positional="yarn", options=ends, trained_frames=TRAINED
    )
    assert seams_of(with_ends).acting_at(0.5) == (Linear(align="ends"), None)
    (chosen,) = make(nodes, "LongtakePositional", model=model, positional="yarn", trained_frames=TRAINED)
    assert seams_of(chosen).acting_at(0.5)[0].name == "yarn"
    assert seams_of(chosen).trained == TRAINED
    assert seams_of(model) is None


def test_factors_that_are_not_one_go_before_connected_options(nodes, model):
    (options,) = make(nodes, "Longtake_attention_strided", key_scale="[1, 0.5]", value_scale="0.7", radius=2)
    (made,) = make(nodes, "LongtakeAttention", model=model, options=options, value_scale=0.9, temperature=1.25)
    strategy = seams_of(made).acting_at(0)[1]
    assert strategy.name == "strided"
    dumped = strategy.dump()
    assert (dumped["radius"], dumped["key_scale"], dumped["value_scale"], dumped["temperature"]) == (
        2,
        [1, 0.5],
        0.9,
        1.25,
    )


@pytest.mark.parametrize(
    ("identifier", "inputs", "message"),
    [
        (
            "LongtakePositional",
            {"positional": "longrope"},
            "no default for factors; connect the node 'Longtake positional",
        ),
        (
            "LongtakeGuidance",
            {"guidance": "keyframes"},
            "no default for scale; connect the node 'Longtake guidance opt",
        ),
        ("LongtakePositional", {"positional": "liner"}, r"unknown positional strategy 'liner'; known: (.|\n)*'linear'"),
        ("LongtakeLoop", {"latent": latents(4)}, "a loop needs more frames than the 25 that stabilityai/.* got 4"),
    ],
)
def test_what_a_node_cannot_do_is_refused(nodes, model, identifier, inputs, message):
    with pytest.raises(ConfigError, match=message):
        make(nodes, identifier, model=model, **inputs)


def test_make_it_long_chooses_what_longtake_chooses(nodes, model):
    positive, negative = told(60.0)
    given_ = {
        "model": model,
        "positive": positive,
        "negative": negative,
        "latent": latents(),
        "trained_frames": TRAINED,
    }
    long, moved, unmoved = make(nodes, "LongtakeMakeItLong", **given_)
    assert seams_of(long).acting_at(0)[0].name == "linear"
    for before, after in ((positive, moved), (negative, unmoved)):
        assert after[0][0] is before[0][0]
        assert after[0][1] == before[0][1] | {"motion_bucket_id": 60 * FRAMES / TRAINED}
        assert before[0][1]["motion_bucket_id"] == 60.0
    guidance = long.model_options["sampler_post_cfg_function"][-1]
    assert guidance.schedule.name == "linear"
    looped, still, _ = make(nodes, "LongtakeMakeItLong", **given_ | {"loop": True})
    assert [each.name for each in seams_of(looped).acting_at(0)] == ["circular", "looped"]
    assert still == positive
    short, still, _ = make(nodes, "LongtakeMakeItLong", **given_ | {"latent": latents(TRAINED)})
    assert seams_of(short).acting_at(0)[0].name == "none"
    assert still == positive


def test_motion_beyond_what_the_model_knows_is_said(nodes, model, caplog):
    positive, negative = told(200.0)
    make(
        nodes,
        "LongtakeMakeItLong",
        model=model,
        positive=positive,
        negative=negative,
        latent=latents(),
        trained_frames=4,
    )
    assert "motion bucket 200 would be raised to 450 for 9 frames" in caplog.text


def test_a_loop_is_closed_and_takes_other_parts(nodes, model):
    (closed,) = make(nodes, "LongtakeLoop", model=model, latent=latents(), trained_frames=TRAINED)
    assert [each.name for each in seams_of(closed).acting_at(0)] == ["circular", "looped"]
    made = sampled(closed)
    (local,) = make(nodes, "Longtake_attention_looped", positions="local")
    (other,) = make(nodes, "LongtakeLoop", model=model, latent=latents(), trained_frames=TRAINED, attention=local)
    assert seams_of(other).acting_at(0)[1].positions == "local"
    assert not torch.equal(sampled(other), made)
    assert closed.model_options["sampler_post_cfg_function"][-1].schedule.name == "constant"


@pytest.fixture
def planned(nodes, monkeypatch):
    """The function that asks for a plan and returns it with its config, undrawn."""
    drawn = []

    def draw(plan, config, path):
        drawn.append((plan, config))
        Image.new("RGB", (6, 4), "red").save(path)

    monkeypatch.setattr(preview, "draw", draw)

    def plan(**inputs):
        (picture,) = make(nodes, "LongtakePlan", latent=latents(), **inputs)
        assert picture.shape == (1, 4, 6, 3)
        assert picture[0, 0, 0].tolist() == [1.0, 0.0, 0.0]
        return drawn[-1]

    return plan


def test_a_plan_is_of_what_the_nodes_have_put_into_the_model(nodes, model, planned):
    (positions,) = make(nodes, "LongtakePositional", model=model, trained_frames=TRAINED)
    (windows,) = make(nodes, "Longtake_attention_freenoise", start=0.5)
    (attention,) = make(nodes, "LongtakeAttention", model=positions, options=windows, trained_frames=TRAINED)
    (guided,) = make(nodes, "LongtakeGuidance", model=attention, trained_frames=TRAINED)
    (noise,) = make(nodes, "LongtakeNoise", trained_frames=TRAINED, noise_seed=2**64 - 1)
    sigmas = karras(7)
    plan, config = planned(model=guided, noise=noise, sigmas=sigmas, positive=told(33.0)[0], shown_step=99)
    assert plan.span.trained == TRAINED
    assert plan.span.step == plan.steps - 1 == 6
    assert torch.equal(plan.sigmas_S1, sigmas)
    assert plan.positions_F.tolist() == pytest.approx([frame * TRAINED / FRAMES for frame in range(FRAMES)])
    assert plan.windows.size == TRAINED
    fresh = noise.generate_noise({"samples": torch.zeros(FRAMES, 1, 1, 1)}).flatten()
    assert torch.equal(fresh[plan.noise_sources_F], fresh)
    assert len(set(plan.noise_sources_F.tolist())) == TRAINED
    assert plan.guidance_SF[0].tolist() == pytest.approx(torch.linspace(1, 3, FRAMES).tolist())
    assert plan.buckets_SF.unique().tolist() == [33.0]
    early, config = planned(model=guided)
    assert early.windows is None
    assert (early.steps, config.attention.name) == (25, "full")


def test_a_plan_of_a_model_without_longtake_is_that_of_svd(model, planned):
    plan, config = planned(model=model, noise=object())
    chosen = [getattr(config, kind).name for kind in ("positional", "attention", "noise", "guidance", "motion")]
    assert chosen == ["none", "full", "independent", "constant", "constant"]
    assert plan.guidance_SF.unique().tolist() == [1.0]
    assert plan.span.trained == 25


def test_guidance_of_a_third_party_is_asked_about_the_frames(model, registry):
    class Own(GuidanceSchedule):
        """A scale that says which frames and which model it was asked about."""

        name = "own"

        def scales(self, span):
            return torch.full((span.frames,), float(span.trained))

    own = longtake.load_plugins(third_party=False).registry
    own.add(Own, "third")
    nodes = mappings(own)[0]
    (made,) = make(nodes, "LongtakeGuidance", model=model, guidance="own", trained_frames=3)
    (same,) = make(
        nodes, "LongtakeGuidance", model=model, options=registry.build("guidance", {"name": "constant", "scale": 3})
    )
    assert torch.equal(sampled(made), sampled(same))


def test_a_sampler_is_wrapped(nodes):
    (made,) = make(nodes, "LongtakeSampling", sampler=Euler())
    assert made.strategy.name == "freeinit"
    (few,) = make(nodes, "Longtake_sampling_freeinit", iterations=2, sigma=20.0)
    assert make(nodes, "LongtakeSampling", sampler=Euler(), options=few)[0].strategy.sigma == 20.0
