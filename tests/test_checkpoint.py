"""SVD in a single file of the original layout, against the same weights in a folder."""

from __future__ import annotations

import json
import sys
import weakref
from pathlib import Path

import pytest
import torch
from original_layout import CLIP, IMAGE_VAE, REDUCED, UNET, VAE, XT, Original, save

from longtake import generate, load_model, read_facts
from longtake.core.checkpoint.contents import Checkpoint
from longtake.core.checkpoint.conversion import load_single_file
from longtake.core.checkpoint.single_file import SingleFile, frames_by_name
from longtake.core.errors import ModelError


@pytest.fixture(scope="module")
def pipeline(make_scheduler):
    """A pipeline of the reduced configuration, with random weights."""
    from diffusers import AutoencoderKLTemporalDecoder, StableVideoDiffusionPipeline, UNetSpatioTemporalConditionModel
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(0)
    made = StableVideoDiffusionPipeline(
        unet=UNetSpatioTemporalConditionModel(**REDUCED["unet"]).eval(),
        vae=AutoencoderKLTemporalDecoder(**REDUCED["vae"]).eval(),
        image_encoder=CLIPVisionModelWithProjection(CLIPVisionConfig(**REDUCED["image_encoder"])).eval(),
        scheduler=make_scheduler(),
        feature_extractor=CLIPImageProcessor(),
    )
    for part in (made.unet, made.vae, made.image_encoder):
        for parameter in part.parameters():  # also those that begin as zeros and ones: nothing may be mixed up
            parameter.data += 0.05 * torch.randn_like(parameter)
    return made


@pytest.fixture(scope="module")
def keys(pipeline):
    return Original.of(pipeline.unet, pipeline.vae, pipeline.image_encoder)


@pytest.fixture(scope="module")
def files(pipeline, keys, tmp_path_factory):
    """A folder with the same model as a folder and as a single file."""
    place = tmp_path_factory.mktemp("models")
    pipeline.save_pretrained(place / "folder")
    save(keys, place / "svd_xt.safetensors")
    return place


@pytest.fixture(scope="module")
def single(files):
    return load_model(str(files / "svd_xt.safetensors"), device="cpu", trained=4)


def states(model):
    parts = ("unet", "vae", "image_encoder")
    return {f"{part}.{key}": value for part in parts for key, value in getattr(model, part).state_dict().items()}


def moved(model):
    """Bring weights out of the mapped file: where they begin in memory decides about the last bit of a sum."""
    for part in (model.pipeline.unet, model.pipeline.vae, model.pipeline.image_encoder):
        for weight in part.parameters():
            weight.data = weight.data.clone()
    return model


def test_a_single_file_is_the_same_model_as_the_folder(files, pipeline, single, picture):
    theirs, mine = states(pipeline), states(single.pipeline)
    assert theirs.keys() == mine.keys()
    assert all(torch.equal(theirs[key], mine[key]) for key in theirs)
    folder = load_model(str(files / "folder"), device="cpu")
    assert single.facts.name.endswith("svd_xt.safetensors")
    for name in ("trained", "unet", "vae_channels", "sample_size", "sigma_max", "top_bucket"):
        assert getattr(single.facts, name) == getattr(folder.facts, name)
    for part in ("unet", "vae", "scheduler"):
        one, other = (dict(getattr(each.pipeline, part).config) for each in (folder, single))
        named = [key for key in one if not key.startswith("_")]
        assert json.dumps([one[key] for key in named]) == json.dumps([other[key] for key in named])
    asked = {"frames": 6, "steps": 2, "seed": 1, "width": 32, "height": 24}
    one, other = (generate(picture, model=moved(model), **asked) for model in (folder, single))
    assert torch.equal(one.latents, other.latents)
    assert (one.frames == other.frames).all()
    assert one.latents.std() > 0.1


@pytest.mark.parametrize("stored", [torch.float32, torch.float16])
@pytest.mark.parametrize("asked", [torch.float32, torch.float16])
def test_the_precision_asked_for_is_loaded(keys, pipeline, tmp_path, stored, asked):
    path = save({key: weight.to(stored) for key, weight in keys.items()}, tmp_path / "svd.safetensors")
    model = load_model(str(path), dtype=asked, device="cpu", trained=4)
    theirs, mine = states(pipeline), states(model.pipeline)
    assert {weight.dtype for weight in mine.values()} == {asked}
    assert all(torch.equal(theirs[key].to(stored).to(asked), mine[key]) for key in theirs)


def test_weights_are_converted_one_after_another(files, monkeypatch):
    """Never two weights in the precision of the file at a time: each is brought to its own before the next is read."""
    held, most = [], []
    taken = sys.modules["longtake.core.checkpoint.conversion"]._taken

    def watched(*arguments):
        weight = taken(*arguments).double()  # a copy, which lives as long as somebody holds it
        held[:] = [reference for reference in held if reference() is not None]
        held.append(weakref.ref(weight))
        most.append(len(held))
        return weight

    monkeypatch.setattr("longtake.core.checkpoint.conversion._taken", watched)
    load_model(str(files / "svd_xt.safetensors"), dtype="float16", device="cpu", trained=4)
    assert len(most) > 300
    assert max(most) <= 2


def test_a_file_of_another_tool_is_read_as_well(pipeline, keys, single, tmp_path, picture):
    """ComfyUI saves one VAE, whose encoder has no quant_conv, and the image encoder with the names of transformers."""
    saved = {key: weight for key, weight in keys.items() if not key.startswith("conditioner.")}
    saved |= {
        key.replace(IMAGE_VAE, VAE): weight for key, weight in keys.items() if key.startswith(f"{IMAGE_VAE}.encoder.")
    }
    saved |= {f"{CLIP}.visual.{key}": weight for key, weight in pipeline.image_encoder.state_dict().items()}
    saved[f"{CLIP}.visual.vision_model.embeddings.position_ids"] = torch.arange(5)[None]
    model = load_model(str(save(saved, tmp_path / "mine.safetensors")), device="cpu", trained=4)
    theirs, mine = states(single.pipeline), states(model.pipeline)
    differing = {key for key in theirs if not torch.equal(theirs[key], mine[key])}
    assert differing == {"vae.quant_conv.weight", "vae.quant_conv.bias"}
    pixels = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        plain = pipeline.vae.encoder(pixels)
        assert torch.equal(model.pipeline.vae.encode(pixels).latent_dist.parameters, plain)
    quant = {f"{VAE}.quant_conv.{key}": value for key, value in pipeline.vae.quant_conv.state_dict().items()}
    model = load_model(str(save(saved | quant, tmp_path / "other.safetensors")), device="cpu", trained=4)
    assert torch.equal(model.pipeline.vae.quant_conv.weight, pipeline.vae.quant_conv.weight)


@pytest.mark.parametrize(
    ("name", "frames"),
    [
        ("svd.safetensors", 14),
        ("svd_xt.safetensors", 25),
        ("SVD-XT-1-1.fp16.safetensors", 25),
        ("svdxt.safetensors", 25),
        ("stable-video-diffusion-img2vid-xt.safetensors", 25),
        ("xt_mine.safetensors", 25),
        ("next.safetensors", 14),
        ("context_xtra.safetensors", 14),
    ],
)
def test_the_name_tells_the_frames(name, frames):
    assert frames_by_name(Path(name)) == frames


def test_frames_that_are_known_are_not_asked_for_otherwise(files, single, tiny_model, picture):
    known = "but model '.*' is known to be trained on 4 frames; leave it out"
    with pytest.raises(ModelError, match=f"trained=14 was asked for, {known}"):
        read_facts(str(files / "folder"), 14)
    with pytest.raises(ModelError, match=known):
        generate(picture, model=tiny_model, trained=14, frames=3, steps=1, width=32, height=24)
    assert read_facts(str(files / "folder"), 4) == read_facts(str(files / "folder"))
    with pytest.raises(ModelError, match="known to be trained on 25 frames"):
        read_facts(XT, 14)


def test_a_run_is_made_again_from_its_record_anywhere(files, single, picture, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(files)
    picture.save(tmp_path / "start.png")
    asked = {"device": "cpu", "frames": 3, "steps": 1, "seed": 1, "width": 32, "height": 24, "trained": 4}
    made = generate(tmp_path / "start.png", model="svd_xt.safetensors", output=tmp_path / "out.npy", **asked)
    record = json.loads((tmp_path / "out.npy.json").read_text())
    assert record["config"]["model"] == str(files / "svd_xt.safetensors")
    assert "--trained 4" in record["command"]
    assert not caplog.records
    monkeypatch.chdir(tmp_path)
    assert torch.equal(generate(**{**record["config"]}).latents, made.latents)
    del asked["trained"]
    guessed = generate(tmp_path / "start.png", model=str(files / "svd_xt.safetensors"), **asked)
    assert guessed.config.trained == 25
    assert generate(tmp_path / "start.png", model=single, trained=4, **asked).config.trained == 4
    assert len([each for each in caplog.messages if "does not say how many frames" in each]) == 1


def test_missing_unexpected_and_other_weights_are_named(keys):
    def refusal(changed):
        """What is said of a file, which is not there: that it would not be read at all."""
        shapes = {key: tuple(weight.shape) for key, weight in changed.items()}
        file = SingleFile.of(Checkpoint("svd.safetensors", Path("nowhere"), shapes))
        with pytest.raises(ModelError) as refused:
            load_single_file(file, 4, torch.float32, torch.device("cpu"))
        return str(refused.value)

    gone = [f"{UNET}.out.0.bias", *(f"{UNET}.middle_block.1.time_stack.0.attn1.to_{each}.weight" for each in "qkv")]
    said = refusal({key: weight for key, weight in keys.items() if key not in gone})
    assert "svd.safetensors' is no whole SVD; missing keys: 4 (" in said
    assert all(f"\n  {key}\n" in said for key in gone)
    said = refusal(keys | {f"{UNET}.mine": torch.zeros(1), "scaled_fp8": torch.zeros(1)})
    assert said.endswith(f"is no whole SVD; unexpected keys: 2 ({UNET}.mine, scaled_fp8)")
    changed = {key.replace("visual.ln_pre", "visual.ln_before"): weight for key, weight in keys.items()}
    said = refusal(changed)
    assert f"missing keys: 2 ({CLIP}.visual.ln_pre.weight, {CLIP}.visual.ln_pre.bias)" in said
    assert f"unexpected keys: 2 ({CLIP}.visual.ln_before" in said
    said = refusal({key: weight for key, weight in keys.items() if not key.startswith(f"{UNET}.middle_block.0.")})
    assert "missing keys: 21 (" in said
    said = refusal({key: weight for key, weight in keys.items() if key != f"{IMAGE_VAE}.quant_conv.weight"})
    assert said.endswith(f"missing keys: 1 ({IMAGE_VAE}.quant_conv.weight)")
    said = refusal(keys | {f"{UNET}.out.0.bias": torch.zeros(65)})
    assert said.endswith(f"is no SVD: {UNET}.out.0.bias should be (64,), got (65,)")
    said = refusal(keys | {f"{UNET}.middle_block.1.proj_in.weight": torch.zeros(128, 128, 3, 3)})
    assert said.endswith("should be (128, 128), got (128, 128, 3, 3)")


def test_a_single_file_has_no_variants(files):
    with pytest.raises(ModelError, match="variant='fp16' was asked for, but '.*svd_xt.safetensors' is a single file"):
        load_model(str(files / "svd_xt.safetensors"), variant="fp16", device="cpu", trained=4)
