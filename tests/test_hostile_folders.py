"""Folders in diffusers' layout that are damaged, hostile or half there: refused before anything is loaded."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from hostile import ESCAPE, refusal
from safetensors.torch import load_file, save_file

from longtake import load_model, read_facts
from longtake.core.errors import ModelError

FILE = "diffusion_pytorch_model"
CONFIG, SCHEDULER = "unet/config.json", "scheduler/scheduler_config.json"
PIPE = "cannot be read: it is a pipe, a socket or a device"


def edited(file, **changes):
    """Return what changes the settings of a file."""
    return lambda folder: (folder / file).write_text(json.dumps(json.loads((folder / file).read_text()) | changes))


def written(file, content):
    """Return what writes a file."""
    return lambda folder: (folder / file).write_bytes(content)


def without(file):
    """Return what removes a file or a folder."""

    def remove(folder):
        shutil.rmtree(folder / file) if (folder / file).is_dir() else (folder / file).unlink()

    return remove


def reweighted(part, stem=FILE, gone=0, **more):
    """Return what removes the first weights of a part and adds others."""

    def change(folder):
        path = folder / part / f"{stem}.safetensors"
        held = load_file(path)
        for key in sorted(held)[:gone]:
            del held[key]
        save_file(held | more, path)

    return change


def renamed(variant, size=None):
    """Return what makes the UNet's weights those of a variant, cut off or not."""

    def rename(folder):
        path = folder / "unet" / f"{FILE}.{variant}.safetensors"
        (folder / "unet" / f"{FILE}.safetensors").rename(path)
        if size:
            os.truncate(path, size)

    return rename


def sharded(folder, lost=False):
    """Keep the UNet's weights in two files."""
    path = folder / "unet" / f"{FILE}.safetensors"
    held, names = load_file(path), [f"{FILE}-0000{n}-of-00002.safetensors" for n in (1, 2)]
    of = {key: names[n % 2] for n, key in enumerate(held)}
    for name in names:
        save_file({key: held[key] for key in of if of[key] == name}, path.with_name(name))
    path.with_name(f"{FILE}.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": of}))
    path.unlink()
    if lost:
        path.with_name(names[1]).unlink()


def piped(folder):
    (folder / "unet" / f"{FILE}.safetensors").unlink()
    os.mkfifo(folder / "unet" / f"{FILE}.safetensors")


def averaged(*, alone: bool):
    """Return what puts averages of a training into the UNet's weights, or in their place."""

    def change(folder: Path) -> None:
        path = folder / "unet" / f"{FILE}.safetensors"
        held = load_file(path)
        averages = {f"model_ema.{key}": each for key, each in held.items()}
        save_file(averages if alone else held | {"model_ema.0": torch.zeros(1)}, path)

    return change


FOLDERS = {
    "a key less": (
        reweighted("unet", gone=1),
        "the weights of its unet are not whole; missing keys: 1 (add_embedding.",
    ),
    "keys less": (reweighted("unet", gone=50), r"missing keys: 50 ("),
    "many keys less": (reweighted("unet", gone=50), "\n  and 40 more\n)"),
    "a key more": (reweighted("unet", mine=torch.zeros(2)), "unexpected keys: 1 (mine)"),
    "a key's name": (reweighted("unet", **{ESCAPE: torch.zeros(2)}), r"unexpected keys: 1 (\x1b]0;owned\x07\x1b[31m)"),
    "a shape": (
        reweighted("unet", **{"conv_in.bias": torch.zeros(7)}),
        "conv_in.bias of its unet should be (32,) by its config, got (7,)",
    ),
    "whole numbers": (
        reweighted("unet", **{"conv_in.bias": torch.zeros(32, dtype=torch.int8)}),
        "its unet holds I8 as conv_in.bias, in 1",
    ),
    "a key of the VAE less": (reweighted("vae", gone=1), "the weights of its vae are not whole; missing keys: 1"),
    "a key of the encoder less": (reweighted("image_encoder", "model", gone=1), "its image_encoder are not whole;"),
    "a shard less": (
        lambda folder: sharded(folder, lost=True),
        f"1 of the 2 files of its unet are missing: {FILE}-00002-of-00002",
    ),
    "shards elsewhere": (
        lambda folder: (
            sharded(folder),
            written(f"unet/{FILE}.safetensors.index.json", b'{"weight_map":{"a":"../a"}}')(folder),
        ),
        "1 of the 1 files of its unet are missing: ../a",
    ),
    "another variant": (renamed("bf16"), f"no file named {FILE}.safetensors; it has the variant bf16, to be named"),
    "a variant cut off": (renamed("fp16", 5000), f"unet/{FILE}.fp16.safetensors is cut off: of 52264 bytes 5000 are"),
    "a pipe": (piped, f"unet/{FILE}.safetensors {PIPE}"),
    "no scheduler": (without("scheduler"), f"is no SVD in diffusers' layout: it has no {SCHEDULER}"),
    "no VAE": (without("vae"), "is no SVD in diffusers' layout: it has no vae/config.json"),
    "no image encoder": (without("image_encoder"), "image_encoder/config.json does not exist"),
    "no feature extractor": (without("feature_extractor"), "feature_extractor/preprocessor_config.json does not exist"),
    "no weights": (without(f"unet/{FILE}.safetensors"), f"its unet has no file named {FILE}.safetensors"),
    "a list": (written(CONFIG, b"[1]"), f"{CONFIG} holds no settings, but a list"),
    "deep settings": (
        written(CONFIG, b"[" * 100_000),
        f"{CONFIG} cannot be read: a value is nested more than 40 levels deep",
    ),
    "no JSON": (written(CONFIG, b"\xff\xfe{}"), f"{CONFIG} cannot be read: it is no JSON ('utf-8' codec"),
    "negative frames": (edited(CONFIG, num_frames=-4), "trained should be greater than 0, got -4"),
    "no whole frames": (edited(CONFIG, num_frames=1e308), "trained should be a valid integer, got 1e+308"),
    "endless frames": (edited(CONFIG, num_frames=10**400), "holds a number of 401 digits; the limit is 400"),
    "many frames": (edited(CONFIG, num_frames=10**300), "unet config states num_frames=1000"),
    "a key twice": (written(CONFIG, b'{"num_frames": 4, "num_frames": 9}'), "read: key 'num_frames' is given twice"),
    "averages alone": (
        averaged(alone=True),
        "its unet was saved in the middle of a training: it holds averaged weights (",
    ),
    "averages": (averaged(alone=False), "it holds averaged weights beside another set (1 keys such as model_ema.0),"),
    "endless size": (edited(CONFIG, sample_size=float("inf")), "sample_size should be a valid integer, got inf"),
    "negative channels": (edited(CONFIG, block_out_channels=[-32, 64]), "block_out_channels=[-32, 64]; what is needed"),
    "no channels": (edited(CONFIG, block_out_channels=[0, 0]), "block_out_channels=[0, 0]; what is needed"),
    "huge channels": (edited(CONFIG, block_out_channels=[10**9, 64]), "block_out_channels=[1000000000, 64]"),
    "letters for channels": (edited(CONFIG, block_out_channels="abc"), "block_out_channels=abc; what is needed"),
    "too many layers": (edited(CONFIG, layers_per_block=10**6), "layers_per_block=1000000; what is needed is a number"),
    "no layers": (edited(CONFIG, layers_per_block=[]), "is no complete SVD: a config holds something else"),
    "numbers for blocks": (
        edited(CONFIG, down_block_types=[1, 2]),
        "is no complete SVD: a config holds something else",
    ),
    "unknown blocks": (edited(CONFIG, down_block_types=["X", "Y"]), "no model can be built from its configs (ValueErr"),
    "too many levels": (
        edited("vae/config.json", block_out_channels=[32] * 5000),
        "its vae config states block_out_ch",
    ),
    "no scaling": (edited("vae/config.json", scaling_factor=0), "its vae config states scaling_factor=0; what is need"),
    "other latents": (edited("vae/config.json", latent_channels=8), "should be equal, got 8 and 16"),
    "other tokens": (edited(CONFIG, cross_attention_dim=32), "that the UNet takes should be equal, got 16 and 32"),
    "letters for a width": (
        edited("image_encoder/config.json", hidden_size="x"),
        "image_encoder config states hidden_si",
    ),
    "endless noise": (edited(SCHEDULER, sigma_max=1e308), "noise levels from 0.002 to 1e+308; they should rise, to 1e"),
    "falling noise": (edited(SCHEDULER, sigma_min=900.0), "noise levels from 900 to 700; they should rise"),
    "unknown betas": (edited(SCHEDULER, beta_schedule="nope"), f"{SCHEDULER} nope is not implemented"),
    "another prediction": (
        edited(SCHEDULER, prediction_type="epsilon"),
        "would ignore this scheduler (EulerDiscreteScheduler with prediction_type='epsilon')",
    ),
    "a module to import": (
        edited("model_index.json", unet=["antigravity", "X"]),
        "model_index.json states unet=['antig",
    ),
    "no part": (
        edited("model_index.json", vae=[None, None]),
        "vae=[None, None]; it should be AutoencoderKLTemporalDecod",
    ),
    "a class's name": (edited("model_index.json", _class_name=ESCAPE), r"is a \x1b]0;owned\x07\x1b[31m, not Stable"),
    "no bucket": (written("longtake.json", b'{"top_motion_bucket": "x"}'), "states top_motion_bucket=x; it is above 0"),
    "quantised": (
        edited(CONFIG, quantization_config={"quant_method": "bitsandbytes"}),
        "its unet is quantised (bitsan",
    ),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_is_not_whole_is_refused_in_a_sentence(tiny_folder, tmp_path, name):
    change, said = FOLDERS[name]
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    change(folder)
    assert said in refusal(str(folder))
    with pytest.raises(ModelError):
        load_model(str(folder), device="cpu")


@pytest.mark.parametrize("change", [sharded, renamed("fp16")], ids=["shards", "half"])
def test_a_folder_that_is_whole_in_another_way_is_planned_and_loaded(tiny_folder, tmp_path, tiny_model, change):
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    change(folder)
    assert read_facts(str(folder)).unet.parameters == tiny_model.facts.unet.parameters
    loaded = load_model(str(folder), device="cpu").pipeline.unet
    assert torch.equal(loaded.conv_in.weight, tiny_model.pipeline.unet.conv_in.weight)


def test_what_older_libraries_wrote_beside_is_no_fault(tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    old = {
        "chunk_size_feed_forward": 0,
        "encoder_no_repeat_ngram_size": 0,
        "torch_dtype": "float16",
        "_name_or_path": "a",
    }
    edited("image_encoder/config.json", **old)(folder)
    edited(CONFIG, transformer_layers_per_block=[1, 1], later_key=[0])(folder)
    reweighted("image_encoder", "model", **{"vision_model.embeddings.position_ids": torch.arange(5)[None]})(folder)
    assert read_facts(str(folder)).trained == 4
    assert load_model(str(folder), device="cpu").facts.trained == 4


def test_a_variant_that_is_not_there_is_refused_when_it_is_planned(tiny_folder, tmp_path):
    with pytest.raises(
        ModelError, match=rf"\(variant bf16\) cannot be loaded: .*{FILE}.bf16.safetensors; .*there: none"
    ):
        read_facts(str(tiny_folder), variant="bf16")
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    shutil.copy(folder / f"unet/{FILE}.safetensors", folder / f"unet/{FILE}.fp16.safetensors")
    with pytest.raises(ModelError, match="variants that are there: fp16"):
        read_facts(str(folder), variant="bf16")
    assert read_facts(str(folder), variant="fp16")


@pytest.mark.parametrize(
    "words",
    [
        ("generate", "start.png", "-o", "out.mp4"),
        ("plan",),
        ("config",),
        ("extend", "clip.gif", "--frames", "9", "-o", "out.mp4"),
        ("measure", "clip.gif"),
        ("tune", "start.png", "--out", "tuned"),
    ],
    ids=lambda words: words[0],
)
def test_every_command_refuses_so(cli, folder, tiny_folder, words, picture):
    picture.save(folder / "clip.gif", save_all=True, append_images=[picture.rotate(90 * n) for n in (1, 2, 3)])
    model = shutil.copytree(tiny_folder, folder / "model")
    reweighted("unet", gone=50)(model)
    done = cli(*words, "--model", "model", code=2)
    assert (
        "error: model 'model' cannot be loaded: the weights of its unet are not whole; missing keys: 50" in done.stderr
    )
    assert len(done.stderr.splitlines()) < 20
