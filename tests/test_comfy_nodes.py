"""The node pack: how ComfyUI finds it, its drop-downs and widgets, and what its nodes make of them."""

from __future__ import annotations

import re

import pytest
import torch
from comfy_model import FRAMES, PATCHERS, TRAINED, SVD_img2vid
from comfy_stand_ins import Euler, karras, sampled, told
from PIL import Image

import longtake
from longtake import GuidanceSchedule
from longtake.core.contracts import SamplingStrategy
from longtake.core.errors import ConfigError
from longtake.plugins.comfy import preview
from longtake.plugins.comfy.nodes import KINDS, NODES, mappings
from longtake.plugins.comfy.patches import seams_of
from longtake.positional.linear import Linear

WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN")


@pytest.fixture(scope="module")
def registry():
    return longtake.load_plugins(third_party=False).registry


@pytest.fixture(scope="module")
def nodes(registry):
    return mappings(registry)[0]


@pytest.fixture(scope="module", params=PATCHERS, ids=lambda each: each.__name__)
def model(tiny_model, request):
    return request.param(SVD_img2vid(tiny_model.pipeline.unet))


def test_every_strategy_that_has_a_place_in_comfyui_is_offered_with_its_options(nodes, registry):
    for kind in KINDS:
        names = set(registry.classes[kind]) - {"chain"}
        offered, settings = nodes[f"Longtake{kind.capitalize()}"].INPUT_TYPES()["required"][kind]
        assert set(offered[1:]) == names
        assert settings["default"] == offered[0]
        assert offered[0].removeprefix("options, else ") in names
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


def test_sampling_in_parts_is_not_offered():
    class InParts(SamplingStrategy):
        """Somebody else's."""

        name = "in-parts"

        def seen(self, span):
            return span.trained

    class Twice(SamplingStrategy):
        """Somebody else's, of all frames."""

        name = "twice"

    registry = longtake.load_plugins(third_party=False).registry
    for each in (InParts, Twice):
        registry.add(each, "third")
    nodes, titles = mappings(registry)
    offered = nodes["LongtakeSampling"].INPUT_TYPES()["required"]["sampling"][0]
    assert offered == ["options, else freeinit", "freeinit", "joint", "twice"]
    assert "Longtake_sampling_twice" in nodes.keys() & titles.keys()
    assert not {"Longtake_sampling_chain", "Longtake_sampling_in-parts"} & (nodes.keys() | titles.keys())


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


def test_a_drop_down_says_that_it_leaves_the_choice_to_what_is_connected(nodes, model, caplog):
    (trapezoid,) = make(nodes, "Longtake_guidance_trapezoid")
    for given, connected, acting in (
        (None, None, "linear"),
        (None, trapezoid, "trapezoid"),
        ("triangle", None, "triangle"),
    ):
        chosen = {} if given is None else {"guidance": given}
        (made,) = make(nodes, "LongtakeGuidance", model=model, options=connected, **chosen)
        assert made.model_options["sampler_post_cfg_function"][-1].schedule.name == acting
    assert not caplog.text
    make(nodes, "LongtakeGuidance", model=model, guidance="trapezoid", options=trapezoid)
    assert not caplog.text
    # As workflows were saved when there was no such entry.
    (made,) = make(nodes, "LongtakeGuidance", model=model, guidance="linear", options=trapezoid)
    assert made.model_options["sampler_post_cfg_function"][-1].schedule.name == "trapezoid"
    assert "the connected options make it 'trapezoid', and not the chosen 'linear'" in caplog.text


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
    assert "motion bucket 200 is too high for 9 frames" in caplog.text


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
