"""The keys of a single file at full size, and what is built like an SVD and is none."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from original_layout import CLIP, IMAGE_VAE, PUBLISHED, UNET, VAE, XT, Original

from longtake import read_facts
from longtake.core.checkpoint.contents import Checkpoint
from longtake.core.checkpoint.conversion import empty_parts, sources_of
from longtake.core.checkpoint.layout import of_no_use
from longtake.core.checkpoint.single_file import SingleFile
from longtake.core.errors import ModelError


@pytest.fixture(scope="module")
def full():
    """The empty parts of the published SVD-XT."""
    return empty_parts(PUBLISHED)


@pytest.fixture(scope="module")
def full_shapes(full):
    return {key: tuple(weight.shape) for key, weight in Original.of(**full).items()}


def test_every_key_of_the_full_size_has_its_place(full, full_shapes):
    file = SingleFile.of(Checkpoint("svd_xt.safetensors", Path("svd_xt.safetensors"), full_shapes))
    configs = file.configs(25)
    assert {part: configs[part] for part in PUBLISHED} == PUBLISHED
    sources = {part: sources_of(file, part, module.state_dict()) for part, module in full.items()}
    for part, module in full.items():
        assert sources[part].keys() == module.state_dict().keys()
    used = [source for named in sources.values() for source in named.values()]
    whole = [source.key for source in used if source.third is None]
    thirds = [(source.key, source.third) for source in used if source.third is not None]
    assert len(set(whole)) == len(whole)
    assert len(set(thirds)) == len(thirds) == 3 * len({key for key, _ in thirds})
    left = full_shapes.keys() - {source.key for source in used}
    assert all(of_no_use(key, file.encoder) for key in left)
    assert not any(of_no_use(source.key, file.encoder) for source in used)
    assert {part: len(named) for part, named in sources.items()} == {"unet": 1428, "vae": 374, "image_encoder": 520}
    assert file.parameters == (1_524_623_082, 97_742_775)


def test_the_keys_of_the_full_size_are_those_that_are_published(full_shapes):
    known = {
        f"{UNET}.time_embed.0.weight": (1280, 320),
        f"{UNET}.label_emb.0.0.weight": (1280, 768),
        f"{UNET}.input_blocks.0.0.weight": (320, 8, 3, 3),
        f"{UNET}.input_blocks.1.0.emb_layers.1.weight": (320, 1280),
        f"{UNET}.input_blocks.1.0.time_stack.in_layers.2.weight": (320, 320, 3, 1, 1),
        f"{UNET}.input_blocks.1.0.time_mixer.mix_factor": (1,),
        f"{UNET}.input_blocks.1.1.proj_in.weight": (320, 320),
        f"{UNET}.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 1024),
        f"{UNET}.input_blocks.1.1.time_stack.0.ff_in.net.0.proj.weight": (2560, 320),
        f"{UNET}.input_blocks.1.1.time_pos_embed.0.weight": (1280, 320),
        f"{UNET}.input_blocks.3.0.op.weight": (320, 320, 3, 3),
        f"{UNET}.input_blocks.11.0.out_layers.3.weight": (1280, 1280, 3, 3),
        f"{UNET}.middle_block.1.time_stack.0.attn1.to_out.0.bias": (1280,),
        f"{UNET}.output_blocks.0.0.skip_connection.weight": (1280, 2560, 1, 1),
        f"{UNET}.output_blocks.2.1.conv.weight": (1280, 1280, 3, 3),
        f"{UNET}.output_blocks.8.2.conv.weight": (640, 640, 3, 3),
        f"{UNET}.output_blocks.11.1.time_mixer.mix_factor": (1,),
        f"{UNET}.out.2.weight": (4, 320, 3, 3),
        f"{VAE}.decoder.conv_out.time_mix_conv.weight": (3, 3, 3, 1, 1),
        f"{VAE}.decoder.mid.attn_1.q.weight": (512, 512, 1, 1),
        f"{VAE}.decoder.up.3.block.0.mix_factor": (1,),
        f"{VAE}.decoder.up.0.block.0.nin_shortcut.weight": (128, 256, 1, 1),
        f"{VAE}.decoder.up.1.upsample.conv.weight": (256, 256, 3, 3),
        f"{IMAGE_VAE}.encoder.down.0.downsample.conv.weight": (128, 128, 3, 3),
        f"{IMAGE_VAE}.quant_conv.weight": (8, 8, 1, 1),
        f"{CLIP}.visual.class_embedding": (1280,),
        f"{CLIP}.visual.positional_embedding": (257, 1280),
        f"{CLIP}.visual.conv1.weight": (1280, 3, 14, 14),
        f"{CLIP}.visual.transformer.resblocks.31.attn.in_proj_weight": (3840, 1280),
        f"{CLIP}.visual.transformer.resblocks.31.mlp.c_fc.weight": (5120, 1280),
        f"{CLIP}.visual.proj": (1280, 1024),
    }
    assert {key: full_shapes.get(key) for key in known} == known
    # The published file of single precision has 9.56 GB, that of half precision 4.78.
    numbers = sum(torch.Size(shape).numel() for shape in full_shapes.values())
    assert round(4 * numbers / 1e9, 2) == 9.56
    assert round(2 * numbers / 1e9, 2) == 4.78


def hollow(shapes, path):
    """Write a file whose weights are a hole: as large as a real one, but taking no room."""
    header, end = {}, 0
    for key, shape in shapes.items():
        begin, end = end, end + 2 * torch.Size(shape).numel()
        header[key] = {"dtype": "F16", "shape": list(shape), "data_offsets": [begin, end]}
    data = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(data).to_bytes(8, "little") + data)
        file.truncate(8 + len(data) + end)
    return path


def test_a_full_size_file_is_planned_from_its_head(full_shapes, tmp_path, cli, caplog):
    path = hollow(full_shapes, tmp_path / "svd_xt_1_1.safetensors")
    facts, known = read_facts(str(path)), read_facts(XT)
    # The file has no quant_conv, which diffusers' class has, and nobody uses.
    assert facts == replace(known, name=str(path), guessed=True, vae_parameters=known.vae_parameters - 72)
    assert 'taken as 25, because its name has "xt"; --trained says otherwise' in caplog.text
    asked = ("--frames", "100", "--device", "cpu", "--seed", "1", "--memory", "20GiB")
    planned = cli("plan", "--model", path.name, "-o", "plan.png", *asked)
    assert (tmp_path / "plan.png").stat().st_size > 1000
    assert f"note: {path.name} does not say how many frames it was trained on: taken as 25" in planned.stderr
    told = cli("config", "--model", path.name, "--trained", "14", "--json", *asked)
    assert "does not say" not in told.stderr
    told = json.loads(told.stdout)
    assert (told["model"], told["trained"], told["positional"]["name"]) == (path.name, 14, "linear")


@pytest.mark.parametrize(
    ("key", "shape", "said"),
    [
        (
            f"{UNET}.label_emb.0.0.weight",
            (1280, 1280),
            "is told 1280 numbers beside the image, which is no multiple of",
        ),
        (f"{UNET}.label_emb.0.0.weight", None, f"is no whole SVD: it has no {UNET}.label_emb.0.0.weight"),
        (f"{UNET}.input_blocks.1.0.out_layers.3.weight", (300, 300, 3, 3), "its UNet is 300 channels wide, and every"),
        (
            f"{CLIP}.visual.conv1.weight",
            (1000, 3, 14, 14),
            "its image encoder is 1000 channels wide, and every head of",
        ),
        (f"{UNET}.input_blocks.1.0.op.weight", (3,), "its UNet has no residual blocks"),
    ],
)
def test_what_is_built_like_an_svd_and_is_none_is_refused(full_shapes, key, shape, said):
    shapes = {name: full_shapes[name] for name in full_shapes if name != key} | ({key: shape} if shape else {})
    with pytest.raises(ModelError, match=re.escape(said)):
        SingleFile.of(Checkpoint("mine", Path("mine"), shapes)).configs(25)
