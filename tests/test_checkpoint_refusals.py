"""Files that are no whole SVD, and models that cannot be had: what is said, and that what is said to do works."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from longtake import load_model, read_facts
from longtake.core.errors import ModelError
from longtake.core.places import hub_hint

UNET, VISUAL = "model.diffusion_model.", "conditioner.embedders.0.open_clip.model.visual."
IN_TIME = "input_blocks.1.0.time_stack.in_layers.0.weight"
WHOLE = [UNET + IN_TIME, "first_stage_model.decoder.conv_in.weight", f"{VISUAL}proj"]


def refusal(path):
    with pytest.raises(ModelError) as refused:
        read_facts(str(path))
    return str(refused.value).removeprefix(f"checkpoint {str(path)!r} ")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (["lora_unet_down_blocks_0.lora_down.weight"], "it seems to hold a LoRA, which changes a model and is none."),
        (["unet.down_blocks.0.attn1.to_q.lora_A.weight"], "it seems to hold a LoRA"),
        (["control_model.input_blocks.0.0.weight"], "it seems to hold a ControlNet"),
        (["down_blocks.0.motion_modules.0.norm.weight"], "it seems to hold a motion module for image models"),
        (["mid_block.resnets.0.temporal_res_block.norm1.bias"], "the UNet of an SVD in diffusers' layout, which"),
        (["down_blocks.0.resnets.0.temporal_res_block.norm1.bias"], "the UNet of an SVD in diffusers' layout, which"),
        ([IN_TIME], "it seems to hold the UNet of an SVD by itself"),
        ([f"{UNET}input_blocks.1.0.in_layers.0.bias", *WHOLE[1:]], "it seems to hold a Stable Diffusion for images"),
        (["decoder.conv_in.weight"], "it seems to hold a VAE by itself"),
        (["vision_model.post_layernorm.bias"], "it seems to hold an image encoder by itself"),
        (["a", "b", "c", "d"], "it seems to hold something else: a, b, c and 1 more. What is needed is a whole one"),
        ([], "it seems to hold nothing."),
        (WHOLE[:1], "holds only the UNet of an SVD, without the VAE and the image encoder; what is needed is a whole"),
        (WHOLE[1:], "holds only the VAE and the image encoder of an SVD, without the UNet;"),
        (WHOLE, "has a VAE that decodes each frame by itself, as in svd_image_decoder.safetensors; the one that"),
    ],
)
def test_what_a_file_seems_to_hold_is_said(tmp_path, keys, said):
    save_file({key: torch.zeros(2) for key in keys}, tmp_path / "svd.safetensors")
    assert said in refusal(tmp_path / "svd.safetensors")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9559625980\n", "is a pointer of Git LFS"),
        (b"<!doctype html><html><body>Access denied</body></html>", "is a web page, as one gets where a licence"),
        (b"PK\x03\x04" + bytes(100), "is a pickle, which may run any code when it is read"),
        (b"\x80\x02" + bytes(100), "is a pickle, which may run any code when it is read"),
        (b"GGUF" + bytes(100), "is no safetensors file: "),
        (bytes(100), "is no safetensors file: "),
        (b"", "is no safetensors file: "),
    ],
)
def test_what_is_no_safetensors_file_is_said(tmp_path, content, said):
    (tmp_path / "svd.safetensors").write_bytes(content)
    assert refusal(tmp_path / "svd.safetensors").startswith(said)


@pytest.mark.parametrize("left", [12, 100, 800])
def test_a_file_that_is_cut_off_says_how_much_is_there(tmp_path, left):
    path = tmp_path / "svd.safetensors"
    save_file({key: torch.zeros(100) for key in WHOLE}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[:left])
    least = len(whole) if left == 800 else 8 + int.from_bytes(whole[:8], "little")
    assert refusal(path) == f"is cut off: of {least} bytes {left} are there; download or copy it again"


def test_a_file_that_is_not_there_is_said_so(tmp_path):
    assert refusal(tmp_path / "svd.safetensors") == "does not exist"
    assert refusal(tmp_path / "svd.ckpt") == "does not exist"


@pytest.mark.parametrize("ending", [".ckpt", ".pt", ".pth", ".bin"])
def test_a_pickle_is_refused_before_it_is_read_with_the_way_to_convert_it(tmp_path, ending):
    path = tmp_path / f"it's svd{ending}"
    shared = torch.arange(6.0).reshape(2, 3)
    torch.save({"state_dict": {"a": shared, "b": shared.T, "step": 7}}, path)
    said, command = refusal(path).split("\n")
    assert said.startswith("is a pickle, which may run any code when it is read, and is never loaded; this converts it")
    if ending == ".ckpt":
        program, *words = shlex.split(command)
        assert program == "python"
        subprocess.run([sys.executable, *words], check=True, timeout=120)
        converted = load_file(path.with_suffix(".safetensors"))
        assert converted.keys() == {"a", "b"}
        assert torch.equal(converted["b"], shared.T)


def test_the_command_that_converts_a_pickle_overwrites_nothing(tmp_path):
    path = tmp_path / "-it's\nsvd.ckpt"
    torch.save({"a": torch.arange(3.0)}, path)
    (tmp_path / "-it's\nsvd.safetensors").write_text("precious")
    command = refusal(path).split("\n", 1)[1]
    words = [sys.executable, *shlex.split(command)[1:]]
    subprocess.run(words, check=True, timeout=120)  # under a name that was free
    assert torch.equal(load_file(tmp_path / "-it's\nsvd-converted.safetensors")["a"], torch.arange(3.0))
    again = subprocess.run(words, check=False, timeout=120, capture_output=True, text=True)
    assert again.returncode == 1
    assert again.stderr.endswith("svd-converted.safetensors is there already\n")
    assert (tmp_path / "-it's\nsvd.safetensors").read_text() == "precious"


def test_a_folder_of_pickles_is_refused_with_the_way_to_convert_them(tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    weights = next((folder / "unet").glob("*.safetensors"))
    torch.save({"conv_in.weight": torch.zeros(1)}, weights.with_suffix(".bin"))
    weights.unlink()
    said = f"cannot be loaded: .*{re.escape(str(weights.with_suffix('.bin')))} is a pickle.*python -c"
    with pytest.raises(ModelError, match=f"(?s){said}"):
        load_model(str(folder), device="cpu")


@pytest.mark.parametrize(("part", "stem"), [("vae", "diffusion_pytorch_model"), ("image_encoder", "pytorch_model")])
def test_a_pickle_of_any_part_is_refused_so(tiny_folder, tmp_path, part, stem):
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    weights = next((folder / part).glob("*.safetensors"))
    weights.unlink()
    torch.save({"a": torch.zeros(1)}, folder / part / f"{stem}.bin")
    with pytest.raises(ModelError) as refused:
        load_model(str(folder), device="cpu")
    assert f"{folder / part / stem}.bin is a pickle" in str(refused.value)
    assert str(refused.value).split("python -c")[1].split()[-1] == str(weights)  # written where they are looked for


def test_a_pickle_with_a_safe_name_is_not_written_over(tmp_path):
    path = tmp_path / "svd.safetensors"
    torch.save({"a": torch.zeros(1)}, path)
    said = refusal(path)
    assert "svd-converted.safetensors" in said
    assert shlex.split(said.split("\n")[1])[-1] != str(path)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def test_a_name_on_the_hub_is_found_in_its_cache(cache, tiny_folder, tiny_model):
    kept = cache / "models--someone--tiny-svd"
    shutil.copytree(tiny_folder, kept / "snapshots" / "0123456789")
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("0123456789")
    facts = read_facts("someone/tiny-svd")
    assert facts.unet.parameters == tiny_model.facts.unet.parameters > 0
    (kept / "snapshots" / "0123456789" / "longtake.json").write_text('{"top_motion_bucket": 12}')
    assert read_facts("someone/tiny-svd").top_bucket == 12
    model = load_model("someone/tiny-svd", device="cpu")
    assert torch.equal(model.pipeline.unet.conv_in.weight, tiny_model.pipeline.unet.conv_in.weight)


@pytest.mark.parametrize(
    ("offline", "said"),
    [(True, "HF_HUB_OFFLINE forbids the network; without it, this"), (False, "with a network, this")],
)
def test_a_name_that_the_cache_lacks_says_what_to_do(cache, offline, said, monkeypatch):
    name = "stabilityai/stable-video-diffusion-img2vid-xt"
    with pytest.raises(ModelError) as refused:
        load_model(name, device="cpu")
    lines = str(refused.value).splitlines()
    assert lines[0].startswith(f"model {name!r} cannot be loaded: ")
    assert f"it is looked for in the hub's cache, {cache}, first; HF_HUB_OFFLINE forbids the network" in lines[-2]
    assert lines[-2].endswith(f"fetches it: hf download {name}")
    assert lines[-1] == "if the model is gated, accept its licence on its page and log in with: hf auth login"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    assert said in hub_hint(name)
