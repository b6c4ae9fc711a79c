"""Blocks and layers of another class than the one that the engine runs or computes: refused rather than passed over."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from applied import ENGINE, TOLERANCE
from torch import nn

from longtake import Model, apply, generate
from longtake.core.engine.decoder import DecoderEngine
from longtake.core.engine.split import Split
from longtake.core.engine.unet import Engine
from longtake.core.errors import LongtakeError
from longtake.core.seams import Seams

SMALL = {"frames": 6, "steps": 1, "seed": 1, "height": 24, "width": 32}
ATTENTIONS = "down_blocks.0.attentions.0"
TEMPORAL = f"{ATTENTIONS}.temporal_transformer_blocks.0"
OF_THE_UNET = [
    "mid_block",
    "down_blocks.1",
    ATTENTIONS,
    f"{ATTENTIONS}.transformer_blocks.0",
    TEMPORAL,
    f"{TEMPORAL}.attn1",
    f"{TEMPORAL}.attn2",
    f"{TEMPORAL}.ff",
    f"{TEMPORAL}.ff_in.net.0",
    f"{ATTENTIONS}.time_mixer",
    "up_blocks.0.resnets.1",
    "mid_block.resnets.0.spatial_res_block",
    "mid_block.resnets.0.temporal_res_block",
    "mid_block.resnets.0.temporal_res_block.norm1",
    "mid_block.resnets.0.spatial_res_block.nonlinearity",
    "up_blocks.0.upsamplers.0",
    "conv_act",
]
OF_THE_DECODER = ["mid_block", "mid_block.resnets.0", "up_blocks.1.resnets.1.temporal_res_block", "up_blocks.0"]


def another(part: nn.Module, method: str = "forward") -> None:
    """Let a part be of a class of one's own, which does the same."""
    stock = type(part)
    own = {method: getattr(stock, method)}
    part.__class__ = type(f"Own{stock.__name__}", (stock,), own)


def said(whose: str, place: str, cls: str) -> str:
    return rf"around the {whose}'s {re.escape(place)} \({cls}\), which longtake would pass over: it runs"


@pytest.mark.parametrize("place", OF_THE_UNET)
def test_a_part_of_the_unet_with_a_forward_of_its_class_is_refused_by_both_ways(pipe, call_pipe, image, place):
    part = pipe.unet.get_submodule(place)
    another(part)
    expected = "there is another forward " + said("UNet", place, type(part).__name__)
    with pytest.raises(LongtakeError, match=expected):
        generate(image, model=Model.of(pipe), **SMALL)
    with pytest.raises(LongtakeError, match=expected), apply(pipe):
        call_pipe(pipe, image)


@pytest.mark.parametrize("place", OF_THE_DECODER)
def test_a_part_of_the_decoder_with_a_forward_of_its_class_is_refused(pipe, image, place):
    part = pipe.vae.decoder.get_submodule(place)
    another(part, "__call__" if place == "up_blocks.0" else "forward")
    with pytest.raises(LongtakeError, match=said("decoder", place, type(part).__name__)):
        generate(image, model=Model.of(pipe), **SMALL)


def test_hooks_around_the_whole_decoder_are_refused(pipe, image):
    pipe.vae.decoder.register_forward_hook(lambda *_: None)
    with pytest.raises(LongtakeError, match=r"there are forward hooks around the decoder \(TemporalDecoder\)"):
        generate(image, model=Model.of(pipe), **SMALL)


@pytest.mark.parametrize(
    ("place", "other", "computed"),
    [
        ("mid_block.resnets.0.spatial_res_block.nonlinearity", nn.ReLU(), "SiLU"),
        ("conv_act", nn.ReLU(), "SiLU"),
        ("mid_block.resnets.1.temporal_res_block.norm2", nn.Identity(), "GroupNorm"),
    ],
)
def test_a_layer_that_is_computed_must_be_the_one_that_is(pipe, call_pipe, image, place, other, computed):
    above, _, name = place.rpartition(".")
    setattr(pipe.unet.get_submodule(above), name, other)
    expected = rf"the UNet's {re.escape(place)} is a {type(other).__name__}, .*it computes a {computed} there by itself"
    with pytest.raises(LongtakeError, match=expected):
        generate(image, model=Model.of(pipe), **SMALL)
    with pytest.raises(LongtakeError, match=expected), apply(pipe):
        call_pipe(pipe, image)


class Adapter(nn.Module):
    """What adapters put in a layer's place: a class of theirs, with children."""

    def __init__(self, layer):
        super().__init__()
        self.base_layer, self.more = layer, nn.ModuleDict({"default": copy.deepcopy(layer)})

    def __getattr__(self, name):  # sizes of the layer, which others read
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base_layer"), name)

    def forward(self, *given):
        return self.base_layer(*given) + 0.2 * self.more["default"](*given)


def test_adapters_around_every_linear_layer_and_convolution_are_called(pipe, call_pipe, image):
    for root in (pipe.unet, pipe.vae.decoder):
        layers = [name for name, part in root.named_modules() if isinstance(part, nn.Linear | nn.Conv2d | nn.Conv3d)]
        for place in layers:
            above, _, name = place.rpartition(".")
            setattr(root.get_submodule(above), name, Adapter(root.get_submodule(place)))
    theirs = call_pipe(pipe, image, 4)
    with apply(pipe, **ENGINE):
        torch.testing.assert_close(call_pipe(pipe, image, 4), theirs, **TOLERANCE)
    DecoderEngine(pipe.vae).run(torch.randn(3, 4, 4, 5), Split())


def test_parts_that_are_compiled_and_classes_that_change_nothing_are_run(pipe):
    unet = pipe.unet
    unet.mid_block.__class__ = type("Renamed", (type(unet.mid_block),), {})
    unet.down_blocks[0] = torch.compile(unet.down_blocks[0])
    resnet = unet.mid_block.resnets[0].spatial_res_block
    resnet.nonlinearity = torch.compile(resnet.nonlinearity)
    unet.up_blocks[0].compile()
    another(unet.get_submodule(f"{TEMPORAL.replace('down_blocks.0', 'up_blocks.1')}.attn2.to_q"))
    Engine(unet, Seams(4), Split())
