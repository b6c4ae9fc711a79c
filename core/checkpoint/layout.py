"""Where diffusers' weights are in a checkpoint of the original layout: the mapping of keys, as data.

The original layout is that of Stability AI's generative-models, with OpenCLIP's image encoder. docs/checkpoints.md
shows the whole mapping, and where it comes from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

UNET = "model.diffusion_model."
VAE = "first_stage_model."
OPEN_CLIP = "conditioner.embedders.0.open_clip.model."
VISUAL = f"{OPEN_CLIP}visual."
# The VAE that encodes the start image is one of its own in the published files, with a quant_conv. Files that were
# saved by other tools have only that of the video, whose encoder needs none.
IMAGE_VAE = r"conditioner\.embedders\.\d+\.encoder\."

# Name in diffusers → name in the original, within a block; what is not named has the same name in both.
RES_BLOCK = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
IN_TIME = {f"temporal_res_block.{ours}": f"time_stack.{theirs}" for ours, theirs in RES_BLOCK.items()}
UNET_RES_BLOCK = {f"spatial_res_block.{ours}": theirs for ours, theirs in RES_BLOCK.items()} | IN_TIME
UNET_TRANSFORMER = {
    "temporal_transformer_blocks": "time_stack",
    "time_pos_embed.linear_1": "time_pos_embed.0",
    "time_pos_embed.linear_2": "time_pos_embed.2",
}
UNET_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
ENCODER_RES_BLOCK = {"conv_shortcut": "nin_shortcut"}
DECODER_RES_BLOCK = {
    "spatial_res_block.conv_shortcut": "nin_shortcut",
    "spatial_res_block": "",
    "time_mixer": "",
} | IN_TIME
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
VAE_ENDS = {"conv_norm_out": "norm_out", "time_conv_out": "conv_out.time_mix_conv"}
CLIP_ENDS = {
    "vision_model.embeddings.class_embedding": "class_embedding",
    "vision_model.embeddings.patch_embedding": "conv1",
    "vision_model.embeddings.position_embedding.weight": "positional_embedding",
    "vision_model.pre_layrnorm": "ln_pre",
    "vision_model.post_layernorm": "ln_post",
    "visual_projection.weight": "proj",
}
CLIP_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
} | {f"self_attn.{part}_proj.{kind}": f"attn.in_proj_{kind}" for part in "qkv" for kind in ("weight", "bias")}
THIRDS = {"q_proj": 0, "k_proj": 1, "v_proj": 2}  # of what OpenCLIP has in one piece

# Keys that may be there and are of no use → why. The second holds only where the image's VAE is one of its own.
OF_NO_USE = {
    rf"{re.escape(OPEN_CLIP)}(?!visual\.)": "the half of OpenCLIP that reads text; SVD is told an image",
    rf"{re.escape(VAE)}encoder\.": "the image is encoded by the VAE in the conditioner",
    rf"{IMAGE_VAE}(decoder|post_quant_conv)\.": "the VAE in the conditioner only encodes",
    rf"{re.escape(VISUAL)}vision_model\.embeddings\.position_ids$": "numbers from 0 on",
}


class Source(NamedTuple):
    """Where a weight comes from.

    Attributes:
        key: in the checkpoint.
        third: which third of it is meant, along its first dimension; None: all of it.
        transposed: whether rows and columns change places.

    """

    key: str
    third: int | None = None
    transposed: bool = False


class Place(NamedTuple):
    """Where a block is: its name in diffusers, in the original, and what has other names within it."""

    ours: str
    theirs: str
    within: Mapping[str, str] = {}


def of_no_use(key: str, encoder: str) -> bool:
    """Whether a key may be left alone, where the image's encoder is under a prefix."""
    return not (encoder == VAE and key.startswith(f"{VAE}encoder.")) and any(re.match(each, key) for each in OF_NO_USE)


def unet_places(layers: int, attended: tuple[bool, ...]) -> Iterator[Place]:
    """Yield the blocks of a UNet with so many residual blocks at a level, and transformers where a level has them.

    The original counts its blocks through, each level's upsampler or downsampler among them.
    """
    yield from (Place(ours, f"{UNET}{theirs}") for ours, theirs in UNET_ENDS.items())
    for level in range(len(attended)):
        first = 1 + level * (layers + 1)
        for number in range(layers):
            yield from _pair(f"down_blocks.{level}", number, f"{UNET}input_blocks.{first + number}")
        yield Place(f"down_blocks.{level}.downsamplers.0.conv", f"{UNET}input_blocks.{first + layers}.0.op")
    yield Place("mid_block.resnets.0", f"{UNET}middle_block.0", UNET_RES_BLOCK)
    yield Place("mid_block.attentions.0", f"{UNET}middle_block.1", UNET_TRANSFORMER)
    yield Place("mid_block.resnets.1", f"{UNET}middle_block.2", UNET_RES_BLOCK)
    for level, has_transformers in enumerate(reversed(attended)):
        first = level * (layers + 1)
        for number in range(layers + 1):
            yield from _pair(f"up_blocks.{level}", number, f"{UNET}output_blocks.{first + number}")
        after = 2 if has_transformers else 1
        yield Place(f"up_blocks.{level}.upsamplers.0.conv", f"{UNET}output_blocks.{first + layers}.{after}.conv")


def _pair(block: str, number: int, original: str) -> Iterator[Place]:
    yield Place(f"{block}.resnets.{number}", f"{original}.0", UNET_RES_BLOCK)
    yield Place(f"{block}.attentions.{number}", f"{original}.1", UNET_TRANSFORMER)


def vae_places(levels: int, layers: int, encoder: str) -> Iterator[Place]:
    """Yield the blocks of a VAE whose encoder is under a prefix; the original counts a decoder's from its last."""
    for level in range(levels):
        for number in range(layers):
            ours, theirs = f"encoder.down_blocks.{level}", f"{encoder}encoder.down.{level}"
            yield Place(f"{ours}.resnets.{number}", f"{theirs}.block.{number}", ENCODER_RES_BLOCK)
            yield Place(f"{ours}.downsamplers.0", f"{theirs}.downsample")
        for number in range(layers + 1):
            ours, theirs = f"decoder.up_blocks.{level}", f"{VAE}decoder.up.{levels - 1 - level}"
            yield Place(f"{ours}.resnets.{number}", f"{theirs}.block.{number}", DECODER_RES_BLOCK)
            yield Place(f"{ours}.upsamplers.0", f"{theirs}.upsample")
    for side, prefix, names in (("encoder", encoder, ENCODER_RES_BLOCK), ("decoder", VAE, DECODER_RES_BLOCK)):
        yield Place(f"{side}.mid_block.attentions.0", f"{prefix}{side}.mid.attn_1", VAE_ATTENTION)
        for number in range(2):
            yield Place(f"{side}.mid_block.resnets.{number}", f"{prefix}{side}.mid.block_{number + 1}", names)
        yield Place(side, f"{prefix}{side}", VAE_ENDS)
    yield Place("quant_conv", f"{encoder}quant_conv")


def clip_places(layers: int, *, converted: bool) -> Iterator[Place]:
    """Yield the blocks of an image encoder; one that was converted already has the names of transformers."""
    if converted:
        yield from (Place(name, f"{VISUAL}{name}") for name in ("vision_model", "visual_projection"))
        return
    for number in range(layers):
        theirs = f"{VISUAL}transformer.resblocks.{number}"
        yield Place(f"vision_model.encoder.layers.{number}", theirs, CLIP_LAYER)
    yield Place("", VISUAL.removesuffix("."), CLIP_ENDS)


def source_of(key: str, places: Iterable[Place]) -> Source:
    """Return where a weight of diffusers' comes from: the first place that it is in says so."""
    for ours, theirs, within in places:
        if ours and not key.startswith(f"{ours}."):
            continue
        inner = _renamed(key.removeprefix(f"{ours}."), within)
        found = f"{theirs}.{inner}" if inner else theirs
        fused = ".in_proj_" in found
        third = next((number for part, number in THIRDS.items() if fused and f".{part}." in key), None)
        return Source(found, third, transposed=found == f"{VISUAL}proj")
    raise KeyError(key)


def _renamed(name: str, names: Mapping[str, str]) -> str:
    """Return a dotted name with the longest beginning that has another name replaced by that."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        beginning = ".".join(parts[:end])
        if beginning in names:
            return ".".join(filter(None, [names[beginning], *parts[end:]]))
    return name
