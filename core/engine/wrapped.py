"""What other libraries have wrapped around modules: the engine runs modules its own way, and honours the wrapping.

Weight offloading of accelerate and diffusers brings a module's weights to the device before its forward and takes them
away after it. Adapters such as LoRA put a layer of their own in a layer's place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

from ..errors import LongtakeError

# Hooks of diffusers that bring weights, or see who asks for them.
BRINGING = ("group_offloading", "layer_execution_tracker", "layerwise_casting", "peft_autocast_disable")
PLAIN_WEIGHTS: tuple[type[Tensor], ...] = (nn.Parameter, Tensor)
PLAIN_LAYERS = (nn.Linear, nn.Conv2d, nn.Conv3d, nn.GroupNorm, nn.LayerNorm)
# The places of layers that the engine calls, whatever stands there: adapters, quantized layers.
CALLED = re.compile(
    r"(^|\.)(conv\w*|time_conv_out|norm\w*|conv_norm_out|proj|proj_in|proj_out|to_[qkv]|to_out\.0|net\.2|"
    r"time_emb_proj|time_pos_embed|time_embedding|add_embedding|downsamplers\.\d+)(\.|$)"
)
# Not called, as one key has a softmax of 1: whatever makes it, and the query, changes nothing.
WITHOUT_EFFECT = re.compile(r"transformer_blocks\.\d+\.(norm2|attn2\.to_q|attn2\.to_k)$")
# Not called, as the engine computes what the class of this name does.
COMPUTED = {
    "GroupNorm": re.compile(r"temporal_res_block\.norm[12]$"),
    "AlphaBlender": re.compile(r"time_mixer$"),
    "SiLU": re.compile(r"(nonlinearity|conv_act)$"),
    "GEGLU": re.compile(r"\.net\.0$"),
}
LIBRARIES = ("diffusers", "torch")
# Diffusers' processors that all compute plain attention, only by different kernels.
PLAIN_PROCESSORS = ("AttnProcessor", "AttnProcessor2_0", "XFormersAttnProcessor", "SlicedAttnProcessor")


def is_plain(layer: nn.Module) -> bool:
    """Whether a layer's weights are all there is to it, so that they may be used without calling it."""
    hooked = layer._forward_hooks or layer._forward_pre_hooks or "forward" in vars(layer)
    # Quantized weights are tensors of another class, which know what to do when they are multiplied and no more.
    return type(layer) in PLAIN_LAYERS and not hooked and type(layer.weight) in PLAIN_WEIGHTS


def bias_plus(layer: Any, more_C: Tensor) -> Tensor:
    """Return a plain layer's bias plus something that is added to its result anyway."""
    bias_C: Tensor = more_C if layer.bias is None else layer.bias + more_C
    return bias_C


def is_compiled(module: nn.Module) -> bool:
    """Whether a module was given to ``torch.compile``, or told to compile itself."""
    return hasattr(module, "_orig_mod") or module._compiled_call_impl is not None


def weights_come_and_go(unet: nn.Module) -> bool:
    """Whether the weights of parts of the UNet are brought to the device one part after another."""
    _, *parts = getattr(unet, "_orig_mod", unet).modules()
    return any(hasattr(part, "_hf_hook") or hasattr(part, "_diffusers_hook") for part in parts)


def check_weights(module: nn.Module) -> None:
    """See that weights can be read while they are put away: the engine merges some before it runs.

    Raises:
        LongtakeError: they are put away on a disk.

    """
    for part in module.modules():
        registry = getattr(part, "_diffusers_hook", None)
        hook = registry.get_hook("group_offloading") if registry else None
        if hook is not None and getattr(hook.group, "offload_to_disk_path", None):
            raise LongtakeError(
                "the weights are offloaded to a disk, and longtake reads some of them before they are brought back: "
                "offload them to the host's memory, without offload_to_disk_path"
            )


def check_blocks(module: nn.Module, whose: str, called: str) -> None:
    """See that the engine passes over nothing: it walks through blocks, and computes some layers itself.

    Args:
        module: the UNet, or the VAE's decoder.
        whose: what it is called.
        called: pattern of the names of parts that this engine calls, besides single layers.

    Raises:
        LongtakeError: hooks, or another forward, would be passed over; a layer is not the one that is computed.

    """
    for full_name, part in module.named_modules():
        name = full_name.replace("._orig_mod", "")  # within what torch.compile gives
        computed = next((cls for cls, places in COMPUTED.items() if places.search(name)), None)
        without_effect = WITHOUT_EFFECT.search(name)
        is_block = next(part.children(), None) is not None and not (CALLED.search(name) or re.search(called, name))
        if not (computed or without_effect or is_block):
            continue
        where = f"{whose}'s {name}" if name else whose
        cls = type(getattr(part, "_orig_mod", part))
        if found := _around(part) or ("" if without_effect else _another_class(cls)):
            raise LongtakeError(
                f"{found} around the {where} ({cls.__name__}), which longtake would pass over: it runs "
                "the layers inside by itself; take it away first"
            )
        if computed and computed != _owner(cls, "forward").__name__:
            raise LongtakeError(
                f"the {where} is a {cls.__name__}, which longtake would pass over: it computes a {computed} there by "
                "itself; put one there"
            )


def _owner(cls: type, method: str) -> type:
    """Return the class that defines a method of ``cls``."""
    return next(each for each in cls.__mro__ if method in vars(each))


def _another_class(cls: type[nn.Module]) -> str:
    """Return the fault of a class that computes something other than diffusers or torch do, or an empty text."""
    owners = (_owner(cls, method).__module__ for method in ("forward", "__call__"))
    return "" if all(owner.split(".")[0] in LIBRARIES for owner in owners) else "there is another forward"


def _around(part: nn.Module) -> str:
    """Return what is wrapped around a module, other than what brings its weights; empty if nothing is."""
    registry = getattr(part, "_diffusers_hook", None)
    others = [name for name in (registry.hooks if registry else ()) if not name.endswith(BRINGING)]
    if others:
        return f"there is {' and '.join(others)} of diffusers"
    if part._forward_hooks or part._forward_pre_hooks:
        return "there are forward hooks"
    return "there is another forward" if has_another_forward(part) else ""


def has_another_forward(part: nn.Module) -> bool:
    """Whether somebody else's function stands for a module's forward, other than to bring its weights or compile it."""
    forward = vars(part).get("forward")
    brought = hasattr(part, "_diffusers_hook") or hasattr(part, "_hf_hook")
    while brought and isinstance(forward, partial) and hasattr(forward, "__wrapped__"):
        forward = forward.__wrapped__  # beneath what brings weights may be another one
    # What brought weights leaves the module's own method behind when it goes.
    own = forward is None or getattr(forward, "__func__", None) is type(part).forward
    return not own and "_orig_mod" not in part._modules


@contextmanager
def at_work(module: nn.Module) -> Iterator[None]:
    """Let whoever wraps ``module`` prepare it for the time of the block, as calling it would."""
    registry = getattr(module, "_diffusers_hook", None)
    hooks = list(registry.hooks.values()) if registry else []
    hooks += [module._hf_hook] if hasattr(module, "_hf_hook") else []
    for hook in reversed(hooks):  # the last one registered is the outermost
        hook.pre_forward(module)
    try:
        yield
    finally:
        for hook in hooks:
            hook.post_forward(module, None)


def check_attention(attention: Any, name: str) -> None:
    """See that an attention layer computes plain attention, which the engine does itself.

    Raises:
        LongtakeError: it has another processor.

    """
    processor = type(attention.processor).__name__
    if processor not in PLAIN_PROCESSORS:
        raise LongtakeError(
            f"{name} has the attention processor {processor}, which would be passed over: longtake computes attention"
            " itself; take it out first, with unet.set_default_attn_processor()"
        )
