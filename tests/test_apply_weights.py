"""longtake in a pipeline of diffusers whose weights come and go, change, or are compiled."""

from __future__ import annotations

import copy

import pytest
import torch
from applied import ENGINE, TOLERANCE
from torch import nn
from torch._dynamo.utils import counters

from longtake import apply, remove
from longtake.core.engine import split
from longtake.core.errors import LongtakeError


@pytest.fixture(scope="module")
def plain(stock, call_pipe, image):
    """What a pipeline makes that nothing is done to."""
    return call_pipe(stock, image, 2)


def names_of(module) -> dict[str, tuple[str, ...]]:
    """Return the attributes of every module, and of what is wrapped around them."""
    return {name: tuple(sorted(vars(part))) for name, part in module.named_modules()}


def model_offload(pipe):
    pipe.enable_model_cpu_offload(device="cpu")


def sequential_offload(pipe):
    """What enable_sequential_cpu_offload does, which itself asks for cpu:0, and accelerate takes that for elsewhere."""
    from accelerate import cpu_offload

    for part in (pipe.image_encoder, pipe.unet, pipe.vae):
        cpu_offload(part, torch.device("cpu"), offload_buffers=len(part._parameters) > 0)


def blocks_offload(pipe):
    cpu = torch.device("cpu")
    pipe.enable_group_offload(cpu, cpu, offload_type="block_level", num_blocks_per_group=1)


def leaves_offload(pipe):
    cpu = torch.device("cpu")
    pipe.enable_group_offload(cpu, cpu, offload_type="leaf_level")


OFFLOADS = [model_offload, sequential_offload, blocks_offload, leaves_offload]


@pytest.mark.parametrize("first", ["offload", "apply"])
@pytest.mark.parametrize("offload", OFFLOADS)
def test_weights_may_be_offloaded_before_and_after(pipe, call_pipe, image, long, plain, offload, first):
    """Of sequential offloading nothing could be read that is not brought: its weights are on no device at all."""
    same = copy.deepcopy(pipe)
    offload(same)
    call_pipe(same, image, 2, num_inference_steps=1)
    if first == "apply":
        apply(pipe)
    offload(pipe)
    if first == "offload":
        apply(pipe)
    for _ in range(2):
        torch.testing.assert_close(call_pipe(pipe, image), long, **TOLERANCE)
    remove(pipe)
    assert torch.equal(call_pipe(pipe, image, 2), plain)
    assert names_of(pipe.unet) == names_of(same.unet)
    assert set(vars(pipe)) == set(vars(same))


@pytest.mark.parametrize("offload", [model_offload, sequential_offload])
def test_offloading_may_be_taken_off_while_applied(pipe, call_pipe, image, long, offload):
    offload(pipe)
    with apply(pipe):
        call_pipe(pipe, image)
        pipe.remove_all_hooks()
        torch.testing.assert_close(call_pipe(pipe, image), long, **TOLERANCE)


def test_weights_that_are_brought_when_needed_are_never_missing(pipe, call_pipe, image, long):
    """On one device, weights left behind would not show; so here they are lost while they are put away."""
    leaves_offload(pipe)
    for module in pipe.unet.modules():
        if hasattr(module, "_diffusers_hook"):
            lose(module._diffusers_hook.get_hook("group_offloading").group)
    with apply(pipe):
        mine = call_pipe(pipe, image)
    torch.testing.assert_close(mine, long, **TOLERANCE)


def lose(group) -> None:
    """Let what a group of modules offloads be NaN until it is brought back; single numbers may be read all along."""
    kept: dict[torch.Tensor, torch.Tensor] = {}
    onload, offload = group.onload_, group.offload_
    parameters = [weight for module in group.modules for weight in module.parameters()] + list(group.parameters)

    def bring():
        for weight, value in kept.items():
            weight.data = value
        kept.clear()
        onload()

    def put_away():
        offload()
        for weight in parameters:
            if weight.numel() > 1 and weight not in kept:
                kept[weight], weight.data = weight.data, torch.full_like(weight.data, torch.nan)

    group.onload_, group.offload_ = bring, put_away
    put_away()


def test_weights_on_a_disk_are_refused(pipe, call_pipe, image, tmp_path):
    cpu = torch.device("cpu")
    with apply(pipe):
        pipe.unet.enable_group_offload(cpu, cpu, "leaf_level", offload_to_disk_path=str(tmp_path))
        with pytest.raises(LongtakeError, match="the weights are offloaded to a disk, .* without offload_to_disk_path"):
            call_pipe(pipe, image)


class Adapter(nn.Module):
    """What an adapter such as LoRA is: a layer in a layer's place, that calls it and adds to it."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.more = layer, copy.deepcopy(layer)

    @property
    def weight(self):
        return self.layer.weight

    @property
    def bias(self):
        return self.layer.bias

    def forward(self, *given):
        return self.layer(*given) + 0.2 * self.more(*given)


def adapt(pipe):
    """Put adapters where LoRA puts them, and at convolutions too."""
    unet = pipe.unet
    for module in list(unet.modules()):
        for name, layer in list(module.named_children()):
            if name in ("to_q", "to_k", "to_v", "proj", "conv", "conv1", "conv_in", "conv_shortcut"):
                setattr(module, name, Adapter(layer))
        if hasattr(module, "to_out"):
            module.to_out[0] = Adapter(module.to_out[0])


def scale_weights(pipe):
    """Change weights in their place, those that the engine merges too."""
    for name, weight in pipe.unet.named_parameters():
        if "upsampler" in name or "mix_factor" in name or "attn1" in name:
            weight.data *= 1.5


def replace_unet(pipe):
    unet = copy.deepcopy(pipe.unet)
    unet.conv_in.weight.data *= 0.7
    pipe.unet = unet


@pytest.mark.parametrize("change", [adapt, scale_weights, replace_unet])
def test_weights_changed_before_and_after_count(pipe, call_pipe, stock, image, change):
    untouched = call_pipe(pipe, image, 4)
    with apply(pipe, **ENGINE):
        torch.testing.assert_close(call_pipe(pipe, image, 4), untouched, **TOLERANCE)
        change(pipe)
        since = call_pipe(pipe, image, 4)
    changed = call_pipe(pipe, image, 4)
    assert (changed - untouched).abs().max() > 1e-3
    torch.testing.assert_close(since, changed, **TOLERANCE)
    with apply(pipe, **ENGINE):
        torch.testing.assert_close(call_pipe(pipe, image, 4), changed, **TOLERANCE)


@pytest.mark.parametrize("how", ["torch.compile", "unet.compile"])
def test_a_compiled_unet_has_the_engines_pieces_compiled(pipe, call_pipe, image, long, how, monkeypatch):
    asked = []
    monkeypatch.setattr(split, "compiled", lambda piece: asked.append(piece) or piece)  # compiling has its own tests
    with apply(pipe):
        torch.testing.assert_close(call_pipe(pipe, image), long, **TOLERANCE)
        assert not asked
        if how == "torch.compile":
            pipe.unet = torch.compile(pipe.unet, backend="eager")
        else:
            pipe.unet.compile(backend="eager")
        before = dict(vars(pipe.unet))
        counters.clear()
        torch.testing.assert_close(call_pipe(pipe, image), long, **TOLERANCE)
        assert asked
        assert not counters["frames"]  # the engine as a whole is not traced
        after = dict(vars(pipe.unet))
        assert {name: id(value) for name, value in after.items()} == {name: id(value) for name, value in before.items()}


def test_pieces_are_compiled_where_it_is_asked_for(pipe, call_pipe, image, monkeypatch):
    asked = []
    monkeypatch.setattr(split, "compiled", lambda piece: asked.append(piece) or piece)
    with apply(pipe, compile=True):
        call_pipe(pipe, image, 2, num_inference_steps=1)
    assert asked


def test_feed_forward_chunking_changes_nothing(pipe, call_pipe, image, long):
    whole = call_pipe(pipe, image, 4)
    with apply(pipe, **ENGINE):
        pipe.unet.enable_forward_chunking()
        torch.testing.assert_close(call_pipe(pipe, image, 4), whole, **TOLERANCE)
    with apply(pipe):
        torch.testing.assert_close(call_pipe(pipe, image), long, **TOLERANCE)
        # And where nothing is to be stretched the stock UNet works with it.
        torch.testing.assert_close(call_pipe(pipe, image, 4), whole, **TOLERANCE)


def test_other_precisions(pipe, call_pipe, image):
    pipe.to(torch.bfloat16)
    theirs = call_pipe(pipe, image, 4)
    with apply(pipe, **ENGINE, motion="compensated", guidance="linear", noise="freenoise"):
        mine = call_pipe(pipe, image)
    assert (mine.dtype, theirs.dtype) == (torch.bfloat16, torch.bfloat16)
    assert torch.isfinite(mine).all()
    with apply(pipe, **ENGINE):
        error = (call_pipe(pipe, image, 4).float() - theirs.float()).square().mean().sqrt()
    assert error < 0.05 * theirs.float().square().mean().sqrt()


def test_weights_in_8_bits(pipe, call_pipe, image):
    pipe.unet.enable_layerwise_casting(torch.float8_e4m3fn, torch.float32)
    theirs = call_pipe(pipe, image, 4)
    with apply(pipe, **ENGINE):
        torch.testing.assert_close(call_pipe(pipe, image, 4), theirs, atol=1e-3, rtol=0)
