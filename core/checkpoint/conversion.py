"""The weights of a single file in the original layout, brought into diffusers' classes one after another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from torch import Tensor

from ..errors import ModelError
from .contents import said_of_keys
from .expected import empty_parts
from .layout import VAE, Source, of_no_use, source_of

if TYPE_CHECKING:
    from diffusers import StableVideoDiffusionPipeline

    from .single_file import SingleFile


def load_single_file(
    file: SingleFile, trained: int, dtype: torch.dtype, device: torch.device
) -> StableVideoDiffusionPipeline:
    """Return the pipeline of a checkpoint, one weight after another brought to its precision and place.

    Raises:
        ModelError: keys are missing or unexpected, or weights have other shapes or are whole numbers.

    """
    configs = file.configs(trained)
    parts = empty_parts(configs)
    sources = check_keys(file, {name: part.state_dict() for name, part in parts.items()})
    with safe_open(file.checkpoint.path, "pt") as opened:
        for name, part in parts.items():
            weights = {}
            for key, like in part.state_dict().items():
                source = sources[name].get(key)
                weight = _taken(opened, source, like.shape) if source else _neutral(key, like.shape)
                if not weight.is_floating_point():
                    kind = str(weight.dtype).removeprefix("torch.")
                    raise ModelError(
                        f"checkpoint {file.checkpoint.name!r} holds {kind} as {source.key if source else key}, and "
                        "longtake knows no scale for such; take one in float16, bfloat16 or float32"
                    )
                weights[key] = weight.to(device=device, dtype=dtype)
            part.load_state_dict(weights, assign=True)
    from diffusers import EulerDiscreteScheduler, StableVideoDiffusionPipeline
    from transformers import CLIPImageProcessor

    return StableVideoDiffusionPipeline(
        **{name: part.eval() for name, part in parts.items()},
        scheduler=EulerDiscreteScheduler(**configs["scheduler"]),
        feature_extractor=CLIPImageProcessor(),
    )


def sources_of(file: SingleFile, name: str, keys: Iterable[str]) -> dict[str, Source]:
    """Return where each weight of a part comes from; a VAE without ``quant_conv`` has none that has to come."""
    without = file.encoder == VAE and not file.checkpoint.under(f"{VAE}quant_conv.")
    places = file.places[name]
    return {key: source_of(key, places) for key in keys if not (without and key.startswith("quant_conv."))}


def check_keys(file: SingleFile, likes: Mapping[str, Mapping[str, Tensor]]) -> dict[str, dict[str, Source]]:
    """Return where the weights of each part come from, if they are all there, have their shapes, and nothing else is.

    Args:
        file: whose keys and shapes are looked at.
        likes: the weights that each part has, of which only the shapes count.

    Raises:
        ModelError: with the keys.

    """
    sources = {name: sources_of(file, name, like) for name, like in likes.items()}
    shapes, name = file.checkpoint.shapes, file.checkpoint.name
    used = {source.key for named in sources.values() for source in named.values()}
    missing = [key for named in sources.values() for source in named.values() if (key := source.key) not in shapes]
    unexpected = [key for key in shapes if key not in used and not of_no_use(key, file.encoder)]
    if said := said_of_keys(list(dict.fromkeys(missing)), unexpected):
        raise ModelError(f"checkpoint {name!r} is no whole SVD; {said}")
    for part, named in sources.items():
        for key, source in named.items():
            wanted, got = _original_shape(source, tuple(likes[part][key].shape)), shapes[source.key]
            if got[: len(wanted)] != wanted or any(size != 1 for size in got[len(wanted) :]):
                raise ModelError(f"checkpoint {name!r} is no SVD: {source.key} should be {wanted}, got {got}")
    return sources


def _original_shape(source: Source, shape: tuple[int, ...]) -> tuple[int, ...]:
    if source.third is not None:
        return (3 * shape[0], *shape[1:])
    return shape[::-1] if source.transposed else shape


def _taken(opened: Any, source: Source, shape: torch.Size) -> Tensor:
    """Return a weight as diffusers has it; what are 1x1 convolutions in the original may be linear here."""
    if source.third is not None:
        rows = shape[0]
        weight: Tensor = opened.get_slice(source.key)[source.third * rows : (source.third + 1) * rows]
        return weight
    weight = opened.get_tensor(source.key)
    return weight.T.contiguous() if source.transposed else weight.reshape(shape)


def _neutral(key: str, shape: torch.Size) -> Tensor:
    """Return a ``quant_conv`` that changes nothing."""
    return torch.zeros(shape) if key.endswith("bias") else torch.eye(*shape[:2]).reshape(shape)
