"""What the parts of an SVD must hold, by their configs: diffusers' and transformers' classes without any weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from inspect import signature
from typing import TYPE_CHECKING, Any

import torch

from ..errors import ModelError, first_line, printable
from ..loading import loading

if TYPE_CHECKING:
    from torch import Tensor

MOST = 10**6  # in a config: frames, channels, sizes; a model is not built with more
LONGEST = 64  # levels of a part, layers of a level
# The numbers of a config that decide how large a part is.
SIZES = {
    *("num_frames", "in_channels", "out_channels", "latent_channels", "block_out_channels", "sample_size"),
    *("layers_per_block", "transformer_layers_per_block", "num_attention_heads", "cross_attention_dim"),
    *("addition_time_embed_dim", "projection_class_embeddings_input_dim", "scaling_factor"),
    *("hidden_size", "intermediate_size", "projection_dim", "num_hidden_layers", "num_channels"),
    *("image_size", "patch_size"),
}


def empty_parts(configs: Mapping[str, dict[str, Any]]) -> dict[str, torch.nn.Module]:
    """Return the UNet, the VAE and the image encoder without weights, which take no memory."""
    from accelerate import init_empty_weights

    with init_empty_weights():
        return _built(configs)


def shapes_of(name: str, configs: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Tensor]]:
    """Return the weights of the parts that configs describe, by part and key, of which there are only the shapes.

    Args:
        name: of the model, for errors.
        configs: of UNet, VAE and image encoder.

    Raises:
        ModelError: no such model can be built, or its parts do not fit each other.

    """
    for part, config in configs.items():
        check_numbers(name, part, config)
    try:
        return _shapes_of(name, json.dumps(configs))
    except ModelError:
        raise
    except Exception as error:  # the classes raise whatever they stumble over
        raise ModelError(
            f"model {name!r} is no complete SVD: no model can be built from its configs"
            f" ({type(error).__name__}: {printable(first_line(error))})"
        ) from None


@lru_cache(maxsize=4)  # loading looks at them again
def _shapes_of(name: str, configs: str) -> dict[str, dict[str, Tensor]]:
    # Not accelerate's way, which changes torch for all threads; this one, too, must not meet a load in another thread.
    with loading(), torch.device("meta"):
        parts: dict[str, Any] = _built(json.loads(configs))
    check_sizes(name, parts["unet"], parts["vae"])
    tokens, seen = parts["image_encoder"].config.projection_dim, parts["unet"].config.cross_attention_dim
    if seen != tokens:
        raise ModelError(
            f"model {name!r} is no SVD: numbers that the image encoder gives and that the UNet takes should be equal,"
            f" got {tokens} and {seen}"
        )
    return {each: dict(part.state_dict()) for each, part in parts.items()}


def _built(configs: Mapping[str, dict[str, Any]]) -> dict[str, torch.nn.Module]:
    from diffusers import AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    unet, vae = (
        cls(**{key: value for key, value in configs[part].items() if key in signature(cls.__init__).parameters})
        for part, cls in (("unet", UNetSpatioTemporalConditionModel), ("vae", AutoencoderKLTemporalDecoder))
    )
    image_encoder = CLIPVisionModelWithProjection(CLIPVisionConfig.from_dict(configs["image_encoder"]))
    return {"unet": unet, "vae": vae, "image_encoder": image_encoder}


def check_sizes(name: str, unet: Any, vae: Any) -> None:
    """Find out now, and not in the middle of a run, that the parts do not fit each other as SVD's do.

    Raises:
        ModelError: with both numbers.

    """
    sizes = {
        "channels into the UNet and twice those of the VAE's latents": (
            unet.config.in_channels,
            2 * vae.config.latent_channels,
        ),
        "numbers of conditioning (three times addition_time_embed_dim) and what the UNet's embedding takes": (
            3 * unet.config.addition_time_embed_dim,
            unet.add_embedding.linear_1.in_features,
        ),
    }
    for what, (one, other) in sizes.items():
        if one != other:
            raise ModelError(f"model {name!r} is no SVD: {what} should be equal, got {one} and {other}")


def check_numbers(name: str, part: str, config: Mapping[str, Any]) -> None:
    """Refuse sizes with which building a part would take forever, or fail far from here.

    Raises:
        ModelError: with the size.

    """
    for key, value in config.items():
        if key not in SIZES or value is None:
            continue
        values = value if isinstance(value, list | tuple) else [value]
        most = LONGEST if "layers" in key else MOST
        numbers = all(isinstance(each, int | float) and 0 < each <= most for each in values)
        if not numbers or not 0 < len(values) <= LONGEST:
            raise ModelError(
                f"model {name!r} is no SVD: its {part} config states {printable(key)}={printable(value)}; what is"
                f" needed is a number above 0, up to {most}, or up to {LONGEST} of them"
            )
