"""Files of weights that are damaged, hostile or something else: refused from their heads, in a sentence."""

from __future__ import annotations

import os

import pytest
from hostile import ESCAPE, PICTURE, link_to, make, refusal, saved, tensor, weights, zipped

UNET, VAE = "model.diffusion_model.", "first_stage_model."
PIPE = "cannot be read: it is a pipe, a socket or a device"
NONE = "is no safetensors file: "


def holding(*keys: str, dtype: str = "F32") -> bytes:
    """Return a file with such keys."""
    return weights({key: tensor([2], 8 * n, 8 * n + 8, dtype) for n, key in enumerate(keys)}, bytes(8 * len(keys)))


FILES = {
    "empty.safetensors": (b"", f"{NONE}it is empty; download or copy it again"),
    "cut.safetensors": (holding("a")[:-4], "is cut off: of 77 bytes 73 are there; download or copy it again"),
    "length.safetensors": (weights({}, bytes(8), 2**62), f"{NONE}Error while deserializing header: header too large"),
    "negative.safetensors": (weights({"a": tensor([2], 8, 0)}, bytes(8)), "invalid offset for tensor `a`"),
    "beyond.safetensors": (weights({"a": tensor([2], 100, 108)}, bytes(8)), "is cut off: of 181 bytes 81 are there"),
    "overlap.safetensors": (
        weights({"a": tensor([2], 0, 8), "b": tensor([2], 4, 12)}, bytes(12)),
        "invalid offset for tensor `b`",
    ),
    "more.safetensors": (holding("a") + bytes(9), "incomplete metadata, file not fully covered"),
    "product.safetensors": (weights({"a": tensor([2**40, 2**40], 0, 8)}, bytes(8)), "overflow computing buffer size"),
    "shape.safetensors": (weights({"a": tensor([-2], 0, 8)}, bytes(8)), "integer `-2`, expected usize"),
    "text.safetensors": (weights(b'{"\xff":' + b"0" * 60), "invalid UTF-8 in header"),
    "dtype.safetensors": (holding("a", dtype=ESCAPE), r"unknown variant `\x1b]0;owned\x07"),
    "deep.safetensors": (weights(b'{"a":' + b"[" * 200_000), "recursion limit exceeded"),
    "list.safetensors": (weights([1]), f"{NONE}Error while deserializing header: invalid JSON in header"),
    "metadata.safetensors": (weights({"__metadata__": 5}), "integer `5`, expected a map"),
    "hollow.safetensors": (weights({"a": tensor([0], 0, 0)}), "it seems to hold something else: a."),
    "escape.safetensors": (holding(ESCAPE), r"it seems to hold something else: \x1b]0;owned\x07\x1b[31m."),
    "lines.safetensors": (holding("a\nerror: b"), r"it seems to hold something else: a\nerror: b."),
    "long.safetensors": (holding("k" * 10**5), f"something else: {'k' * 120}.... What is needed"),
    "model.gguf": (
        b"GGUF\3\0\0\0" + bytes(90),
        f"{NONE}it is a GGUF, whose weights are quantised for other programs; wh",
    ),
    "gguf.safetensors": (b"GGUF\3\0\0\0" + bytes(90), f"{NONE}it is a GGUF"),
    "gguf.bin": (b"GGUF\3\0\0\0" + bytes(90), f"{NONE}it is a GGUF"),
    "model.onnx": (
        b"\x08\x07\x12\x07pytorch" + bytes(50),
        f"{NONE}it is an ONNX model, a fixed program; what is needed",
    ),
    "script.pt": (zipped("m/code/a.py", "m/constants.pkl", "m/data.pkl"), f"{NONE}it is a TorchScript program"),
    "pickle.txt": (b"\x80\x04N.", "is a pickle, which may run any code when it is read, and is never loaded"),
    "legacy.ckpt": (b"junk" * 30, "is a pickle, which may run any code"),
    "texts.zip": (zipped("a.txt"), f"{NONE}it is a zip archive; unpack it first"),
    "keras.h5": (b"\x89HDF\r\n\x1a\n" + bytes(50), f"{NONE}it is an HDF5 file"),
    "photo.png": (saved(PICTURE), f"{NONE}it is a picture; what is needed is a whole SVD"),
    "config.json": (b'{"a": 1}', f"{NONE}it is text, such as a config"),
    "pipe.safetensors": (os.mkfifo, PIPE),
    "pipe": (os.mkfifo, PIPE),
    "zero.safetensors": (link_to("/dev/zero"), PIPE),
    "nothing.safetensors": (link_to("nowhere"), "does not exist: it is a link to nothing"),
    "sd15.safetensors": (holding(f"{UNET}input_blocks.0.0.weight"), "it seems to hold a Stable Diffusion for images"),
    "sdxl.safetensors": (
        holding(f"{UNET}input_blocks.0.0.weight", "conditioner.embedders.1.model.a"),
        "a Stable Diffusion XL, for images",
    ),
    "flux.safetensors": (holding("double_blocks.0.a"), "it seems to hold a transformer model of another family"),
    "lora.safetensors": (holding("unet.a.lora_A.weight"), "it seems to hold a LoRA, which changes a model and is none"),
    "vae.safetensors": (holding(f"{VAE}decoder.conv_in.weight"), "holds only the VAE of an SVD, without the UNet"),
    "nf4.safetensors": (
        holding(f"{UNET}input_blocks.1.0.time_stack.a.absmax"),
        "is quantised: 1 of its keys are scales, such as model.di",
    ),
    "ema.safetensors": (
        holding(*(f"model_ema.diffusion_model{n}" for n in range(430))),
        "it holds averaged weights (430 keys such as model_ema.diffusion_model0), which longtake does not read; save",
    ),
    "both.safetensors": (holding(f"{UNET}a", "model_ema.b"), "it holds averaged weights beside another set (1 keys"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cannot_be_used_is_refused_in_a_sentence(tmp_path, name):
    content, said = FILES[name]
    assert said in refusal(str(make(content, tmp_path / name)))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "the model's name is empty"),
        ("a" * 5000, "cannot be looked for: File name too long"),
        ("~nosuchuser/svd", "cannot be looked for: Could not determine home directory"),
        ("/dev/null", PIPE),
        ("{tiny}/unet", "it is a part of one: name '"),
        ("{lora}", "it seems to hold a LoRA"),
        ("{files}", "to use a single file, name it, such as '"),
        ("https://example.org/a/svd", "does not exist; give a diffusers folder"),
    ],
)
def test_names_that_are_no_models_are_refused(tiny_folder, tmp_path, name, said):
    for each, file in (("lora", "pytorch_lora_weights"), ("files", "svd_xt")):
        (tmp_path / each).mkdir()
        (tmp_path / each / f"{file}.safetensors").write_bytes(holding("a"))
    assert said in refusal(name.format(tiny=tiny_folder, lora=tmp_path / "lora", files=tmp_path / "files"))


def test_the_command_that_converts_writes_over_nothing(tmp_path):
    for taken in ("svd.safetensors", "svd-converted.safetensors"):
        (tmp_path / taken).write_bytes(b"precious")
    said = refusal(str(make(b"\x80\x04N.", tmp_path / "svd.ckpt")))
    assert said.endswith(str(tmp_path / "svd-converted-2.safetensors"))
