"""Finding and loading SVD: facts without weights, variants, precisions, and what is said when it cannot be."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from longtake import Model, ModelFacts, generate, installed, load_model, read_facts
from longtake.core.engine.memory import UnetShape
from longtake.core.errors import ConfigError, ModelError


@pytest.fixture
def folder(tiny_folder, tmp_path):
    """A copy of the tiny model that may be broken."""
    return shutil.copytree(tiny_folder, tmp_path / "model")


def test_facts_are_read_without_weights(folder, tiny_model):
    assert read_facts(str(folder)).unet.parameters == tiny_model.pipeline.unet.num_parameters()
    for weights in folder.rglob("*.safetensors"):
        weights.unlink()
    assert read_facts(str(folder)) == ModelFacts(
        name=str(folder),
        trained=4,
        latent_channels=4,
        vae_factor=4,
        smallest=8,
        sample_size=32,
        sigma_min=0.002,
        sigma_max=700.0,
        unet=UnetShape((32, 64), layers=1, latent_channels=4, attended=(True, False)),
        vae_channels=(32, 32, 32),
    )


@pytest.mark.parametrize(("name", "trained"), [("img2vid", 14), ("img2vid-xt", 25), ("img2vid-xt-1-1", 25)])
def test_the_published_models_are_known_without_a_network(name, trained):
    facts = read_facts(f"stabilityai/stable-video-diffusion-{name}")
    assert facts.trained == trained
    assert facts.native_size() == (1024, 576)
    assert facts.native_size(portrait=True) == (576, 1024)


def test_a_pipeline_that_is_loaded_already_is_a_model(make_pipeline, tiny_model, tiny_folder, picture):
    pipeline = make_pipeline()
    model = Model.of(pipeline, "mine")
    assert replace(model.facts, name=tiny_model.facts.name) == tiny_model.facts
    asked = {"frames": 6, "steps": 2, "seed": 1, "width": 32, "height": 24}
    mine, theirs = (generate(picture, model=each, **asked).latents for each in (model, tiny_model))
    torch.testing.assert_close(mine, theirs, atol=1e-3, rtol=0)
    pipeline.unet.config["num_frames"] = None
    with pytest.raises(ModelError, match="model 'mine' is no complete SVD: trained should be"):
        Model.of(pipeline, "mine")


@pytest.mark.parametrize("offload_type", ["block_level", "leaf_level"])
def test_a_pipeline_whose_weights_are_put_away_makes_the_same_video(make_pipeline, tiny_model, picture, offload_type):
    """On one device, weights left behind would not show; that they are asked for is what test_engine.py is for."""
    pipeline = make_pipeline()
    cpu = torch.device("cpu")
    groups = {"num_blocks_per_group": 1} if offload_type == "block_level" else {}
    pipeline.enable_group_offload(onload_device=cpu, offload_device=cpu, offload_type=offload_type, **groups)
    asked = {"frames": 6, "steps": 2, "seed": 1, "width": 32, "height": 24}
    mine, theirs = (generate(picture, model=each, **asked).latents for each in (Model.of(pipeline), tiny_model))
    torch.testing.assert_close(mine, theirs, atol=1e-3, rtol=0)


def test_parts_that_come_and_go_are_there_only_while_they_work(tiny_model):
    places = []

    class Part:
        device = "home"

        def to(self, place):
            places.append(place)

    work = torch.device("cuda")
    parts = SimpleNamespace(unet=Part())
    model = Model(parts, tiny_model.facts, work)
    assert model.device == work
    with pytest.raises(KeyError), model.at_hand("unet") as unet:
        assert unet is parts.unet
        assert places == [work]
        raise KeyError
    assert places == [work, "home"]
    places.clear()
    with Model(parts, tiny_model.facts).at_hand("unet") as unet:
        assert unet is parts.unet
    assert places == []


def test_a_model_loaded_for_one_generation_has_each_part_at_hand_in_turn(tiny_folder, picture, monkeypatch):
    held, at_hand = [], Model.at_hand

    @contextmanager
    def watched(self, part):
        assert self.brought_to == torch.device("cpu")
        held.append(part)
        with at_hand(self, part) as module:
            yield module
        held.append(f"no {part}")

    monkeypatch.setattr(Model, "at_hand", watched)
    generate(picture, model=str(tiny_folder), device="cpu", frames=3, steps=1, width=32, height=24)
    parts = ("image_encoder", "vae", "unet", "vae")
    assert held == [each for part in parts for each in (part, f"no {part}")]


def test_weights_held_in_8_bits_are_computed_with_in_full(tiny_folder, tiny_model, picture):
    asked = {"frames": 6, "steps": 2, "seed": 1, "width": 32, "height": 24}
    model = load_model(str(tiny_folder), device="cpu", weights="float8")
    assert (model.weights, model.dtype, tiny_model.weights) == ("float8", torch.float32, None)
    held = {name: weights.dtype for name, weights in model.pipeline.unet.named_parameters()}
    assert held["conv_in.weight"] == torch.float8_e4m3fn
    assert held["conv_norm_out.weight"] == torch.float32
    exact, mine = (generate(picture, model=each, **asked) for each in (tiny_model, model))
    by_name = generate(picture, model=str(tiny_folder), weights="float8", device="cpu", **asked)
    assert torch.equal(mine.latents, by_name.latents)
    assert mine.config.weights == "float8"
    error = (mine.latents - exact.latents).square().mean().sqrt() / exact.latents.square().mean().sqrt()
    assert 1e-5 < error < 0.2
    # As diffusers computes with such weights itself, to rounding.
    unet = model.pipeline.unet
    inputs = torch.randn(1, 4, 8, 6, 8), torch.tensor(0.3), torch.randn(1, 1, 16), torch.ones(1, 3)
    with torch.no_grad():
        theirs = unet(*inputs)[0]
        with installed(unet):
            torch.testing.assert_close(unet(*inputs, return_dict=False)[0], theirs, atol=1e-4, rtol=0)
    with pytest.raises(ModelError, match="weights cannot be held in 'int4'; known: float8"):
        load_model(str(tiny_folder), device="cpu", weights="int4")
    with pytest.raises(ConfigError, match="weights='float8' was asked for, but the model given is in None"):
        generate(picture, model=tiny_model, weights="float8", **asked)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_precision_asked_for_is_loaded(folder, dtype):
    model = load_model(str(folder), dtype=dtype, device="cpu")
    assert {part.dtype for part in (model.pipeline.unet, model.pipeline.vae, model.pipeline.image_encoder)} == {dtype}
    assert model.dtype == dtype
    assert model.device == torch.device("cpu")


def test_a_cpu_gets_float32_by_default(folder):
    assert load_model(str(folder), device="cpu").dtype == torch.float32


def test_variants_are_chosen_by_what_is_there_and_what_fits(make_pipeline, tmp_path):
    """Full weights in one seed and half weights in another tell which of them was loaded."""
    make_pipeline(seed=1).save_pretrained(tmp_path)
    half = make_pipeline(seed=2).to(torch.float16)
    half.save_pretrained(tmp_path, variant="fp16")

    def first_weight(**options):
        return load_model(str(tmp_path), device="cpu", **options).pipeline.unet.conv_in.weight[0, 0, 0, 0].item()

    full, halved = (make_pipeline(seed=seed).unet.conv_in.weight[0, 0, 0, 0].item() for seed in (1, 2))
    assert first_weight() == full
    assert first_weight(dtype="float16") == pytest.approx(halved, rel=1e-3)
    assert first_weight(variant="fp16") == pytest.approx(halved, rel=1e-3)
    for file in tmp_path.rglob("*.safetensors"):
        if ".fp16" not in file.name:
            file.unlink()
    assert first_weight() == pytest.approx(halved, rel=1e-3)


def edit(path, **changes):
    data = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in (data | changes).items() if value is not None}))


def test_models_that_are_no_svd_are_named_for_what_they_are(folder, tmp_path):
    with pytest.raises(ModelError, match="model folder '.*nowhere' does not exist; give a diffusers folder"):
        read_facts(str(tmp_path / "nowhere"))
    (tmp_path / "file.safetensors").touch()
    with pytest.raises(ModelError, match="checkpoint '.*file.safetensors' is no safetensors file"):
        read_facts(str(tmp_path / "file.safetensors"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="is no SVD in diffusers' layout: it has no model_index.json"):
        read_facts(str(tmp_path / "empty"))
    edit(folder / "unet" / "config.json", num_frames=None)
    with pytest.raises(ModelError, match="its configs do not state 'num_frames'"):
        read_facts(str(folder))
    edit(folder / "unet" / "config.json", num_frames="4")
    with pytest.raises(ModelError, match="is no complete SVD: trained should be a valid integer, got '4'"):
        read_facts(str(folder))
    (folder / "unet" / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"unet/config.json cannot be read"):
        read_facts(str(folder))
    edit(folder / "model_index.json", _class_name="StableDiffusionPipeline")
    with pytest.raises(ModelError, match="is a StableDiffusionPipeline, not Stable Video Diffusion"):
        read_facts(str(folder))


def test_parts_that_do_not_fit_each_other_are_found_when_loading(folder):
    edit(folder / "unet" / "config.json", addition_time_embed_dim=32)
    with pytest.raises(ModelError, match=r"addition_time_embed_dim.* should be equal, got 96 and 48"):
        load_model(str(folder), device="cpu")


def test_a_name_that_ends_as_a_folder_is_looked_for_nowhere_else():
    with pytest.raises(ModelError, match="^model folder 'nope/' does not exist; (?!.*hf download)"):
        read_facts("nope/")


def test_a_name_on_the_hub_that_cannot_be_had_says_what_to_do():
    with pytest.raises(
        ModelError, match=r"(?s)'someone/some-svd' is no local folder and could not be downloaded .*licence"
    ):
        read_facts("someone/some-svd")


def test_missing_and_corrupt_weights_are_said_so(folder):
    weights = next((folder / "unet").glob("*.safetensors"))
    weights.write_bytes(b"\x00" * 64)
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(str(folder), device="cpu")
    weights.unlink()
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(str(folder), device="cpu")


def test_a_pickle_is_never_loaded(folder):
    weights = next((folder / "unet").glob("*.safetensors"))
    torch.save({"conv_in.weight": torch.zeros(1)}, weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(str(folder), device="cpu")


@pytest.mark.parametrize("device", ["nonsense", "cuda:99", "xpu:7"])
def test_a_device_that_is_not_there_is_said_so(folder, device):
    with pytest.raises(ModelError, match=f"device '{device}' is not available here; try cpu"):
        load_model(str(folder), device=device)


def test_a_variant_that_is_not_there_is_said_so(folder):
    with pytest.raises(ModelError, match=r"\(variant fp16\) cannot be loaded"):
        load_model(str(folder), device="cpu", variant="fp16")
