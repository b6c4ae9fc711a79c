"""The engine and what others put around the UNet or its layers: honoured, or refused rather than passed over."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from diffusers.hooks import HookRegistry, ModelHook
from engine_compared import SOME, away, blocks_of, call, inputs
from torch import nn

from longtake import installed
from longtake.core.engine.split import Split
from longtake.core.engine.unet import Engine
from longtake.core.errors import LongtakeError
from longtake.core.seams import Seams


@pytest.fixture(scope="module")
def unet(make_pipeline):
    return make_pipeline().unet.double()


def test_weights_changed_before_entry_count_and_layers_put_in_their_place_are_called(unet):
    """What adapters do: a layer of theirs stands in for one of the model, and calls it."""

    class Adapter(nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer, self.weight, self.bias = layer, layer.weight, layer.bias

        def forward(self, *given_):
            return 1.25 * self.layer(*given_)

    adapted = copy.deepcopy(unet)
    resnet = adapted.down_blocks[0].resnets[0]
    resnet.spatial_res_block.conv1 = Adapter(resnet.spatial_res_block.conv1)
    resnet.temporal_res_block.conv1 = Adapter(resnet.temporal_res_block.conv1)
    attention = blocks_of(adapted, "TransformerSpatioTemporalModel")[0].transformer_blocks[0].attn1
    attention.to_out[0], attention.to_q = Adapter(attention.to_out[0]), Adapter(attention.to_q)
    adapted.up_blocks[0].upsamplers[0].conv = Adapter(adapted.up_blocks[0].upsamplers[0].conv)
    given_ = inputs(1, 5, (4, 6))
    assert (call(adapted, given_) - call(unet, given_)).abs().max() > 1e-3
    assert away(adapted, given_, Split(SOME)) < 1e-12
    adapted.up_blocks[0].resnets[0].temporal_res_block.conv2.weight.data *= 2
    adapted.up_blocks[0].upsamplers[0].conv.layer.weight.data *= 2
    assert away(adapted, given_, Split(SOME)) < 1e-12


@pytest.mark.parametrize("offload_type", ["block_level", "leaf_level"])
def test_weights_that_diffusers_puts_away_are_brought_back(unet, offload_type):
    """Blocks are asked for as stock calls ask; on one device alone, weights left behind would not show."""
    offloaded = copy.deepcopy(unet)
    given_ = inputs(1, 5, (4, 7))
    stock = call(unet, given_)
    offloaded.enable_group_offload(
        onload_device=torch.device("cpu"),
        offload_device=torch.device("cpu"),
        offload_type=offload_type,
        num_blocks_per_group=1,
    )
    brought = []
    for name, module in offloaded.named_modules():
        if hasattr(module, "_diffusers_hook"):
            hook = module._diffusers_hook.get_hook("group_offloading")
            onload = hook.group.onload_
            hook.group.onload_ = lambda name=name, onload=onload: (brought.append(name), onload())
    call(offloaded, given_)
    expected = set(brought)
    brought.clear()
    with installed(offloaded, split=Split(SOME)):
        assert (call(offloaded, given_) - stock).abs().max() < 1e-12
    if offload_type == "block_level":
        assert set(brought) == expected


def test_what_would_be_passed_over_is_refused(unet):
    changed = copy.deepcopy(unet)

    class Special:
        def __call__(self, attn, hidden_states, *args, **kwargs):
            return hidden_states

    blocks_of(changed, "TransformerSpatioTemporalModel")[0].transformer_blocks[0].attn1.set_processor(Special())
    with (
        pytest.raises(LongtakeError, match="has the attention processor Special, .* unet.set_default_attn_processor"),
        installed(changed),
    ):
        pass
    given_ = list(inputs(1, 3, (2, 2)))
    given_[0].requires_grad_(True)
    with pytest.raises(LongtakeError, match="gives no gradients; call it under torch.no_grad"), installed(unet):
        unet(*given_)
    sample, noise, token, told = inputs(1, 3, (2, 2))
    with pytest.raises(LongtakeError, match="got 2 for each of 1"), installed(unet):
        unet(sample, noise, token.repeat(1, 2, 1), told)


@pytest.mark.parametrize("place", ["mid_block", "down_blocks.0.resnets.0", "up_blocks.1.attentions.0"])
@pytest.mark.parametrize("way", ["hook", "forward", "diffusers"])
def test_what_is_around_a_block_is_refused_and_named(unet, place, way):
    unet = copy.deepcopy(unet)
    block = unet.get_submodule(place)
    if way == "hook":
        block.register_forward_hook(lambda *_: None)
    elif way == "forward":
        block.forward = lambda *given, **more: type(block).forward(block, *given, **more)
    else:
        HookRegistry.check_if_exists_or_initialize(block).register_hook(ModelHook(), "some_cache")
    said = {
        "hook": "there are forward hooks",
        "forward": "there is another forward",
        "diffusers": "there is some_cache",
    }
    with pytest.raises(LongtakeError, match=rf"{said[way]}.* around the UNet's {re.escape(place)} \(.*would pass over"):
        Engine(unet, Seams(4), Split())


@pytest.mark.parametrize(
    "place",
    [
        "mid_block.resnets.0.temporal_res_block.norm1",
        "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_q",
        "down_blocks.0.attentions.0.temporal_transformer_blocks.0.norm2",
        "up_blocks.1.resnets.0.time_mixer",
    ],
)
def test_hooks_of_layers_that_are_not_called_are_refused(unet, place):
    unet = copy.deepcopy(unet)
    unet.get_submodule(place).register_forward_hook(lambda *_: None)
    with pytest.raises(LongtakeError, match=rf"there are forward hooks around the UNet's {re.escape(place)}"):
        Engine(unet, Seams(4), Split())


def test_states_of_the_unet_stay_on_its_device(unet):
    away = Split(keep=False, bring_to=torch.device("cpu"))
    with pytest.raises(ValueError, match="states of the UNet are held on its device"), installed(unet, split=away):
        call(unet, inputs(1, 3, (4, 4)))


def test_another_forward_of_the_unet_is_refused(unet):
    unet = copy.deepcopy(unet)
    unet.forward = lambda *given, **more: None
    with pytest.raises(LongtakeError, match="the UNet's forward has been replaced, and longtake would pass that over"):
        installed(unet).__enter__()
    assert "forward" in vars(unet)
