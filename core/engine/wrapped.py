"""What other libraries have wrapped around modules: the engine runs modules its own way, and honours the wrapping.

Weight offloading of accelerate and diffusers brings a module's weights to the device before its forward and takes them
away after it. Adapters such as LoRA put a layer of their own in a layer's place.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from ..errors import LongtakeError

PLAIN_LAYERS = (nn.Linear, nn.Conv2d, nn.Conv3d)
# Diffusers' processors that all compute plain attention, only by different kernels.
PLAIN_PROCESSORS = ("AttnProcessor", "AttnProcessor2_0", "XFormersAttnProcessor", "SlicedAttnProcessor")


def is_plain(layer: nn.Module) -> bool:
    """Whether a layer's weights are all there is to it, so that they may be used without calling it."""
    hooked = layer._forward_hooks or layer._forward_pre_hooks or "forward" in vars(layer)
    return type(layer) in PLAIN_LAYERS and not hooked


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
