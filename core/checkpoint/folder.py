"""A folder in diffusers' layout: whether its weights are those that its configs describe, by the heads of the files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..documents import read_json
from ..errors import ModelError, printable
from ..readable import fault_of
from .contents import fault_of_averages, fault_of_numbers, read_header, said_of_keys
from .expected import shapes_of
from .foreign import refusal_of_pickle

if TYPE_CHECKING:
    from torch import Tensor

# Part → what its weights are called, and its class.
PARTS = {
    "unet": ("diffusion_pytorch_model", "UNetSpatioTemporalConditionModel"),
    "vae": ("diffusion_pytorch_model", "AutoencoderKLTemporalDecoder"),
    "image_encoder": ("model", "CLIPVisionModelWithProjection"),
}
LIBRARIES = ("diffusers", "transformers")
CONFIG_MOST = 10**7  # bytes
IGNORED = "vision_model.embeddings.position_ids"  # numbers from 0 on, which older versions saved


def read_config(path: Path) -> dict[str, Any]:
    """Return the settings of a JSON file.

    Raises:
        ValueError: there are none; the message says why, as the end of a sentence.

    """
    if fault := fault_of(path):
        raise ValueError(fault)
    if path.stat().st_size > CONFIG_MOST:
        raise ValueError(f"cannot be read: it has {path.stat().st_size} bytes, too many for settings")
    try:
        data = read_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"cannot be read: it is no JSON ({error})") from None
    except ValueError as error:
        raise ValueError(f"cannot be read: {error}") from None
    if not isinstance(data, dict):
        raise ValueError(f"holds no settings, but {_kind(data)}")
    return data


def check_index(name: str, index: Mapping[str, Any]) -> None:
    """See that the parts that a ``model_index.json`` names are those of SVD; others would be imported by their name.

    Raises:
        ModelError: they are not.

    """
    for part in (*PARTS, "scheduler", "feature_extractor"):
        library, kind = (*stated, None, None)[:2] if isinstance(stated := index.get(part), list) else (None, None)
        wanted = PARTS[part][1] if part in PARTS else None
        if library not in LIBRARIES or not isinstance(kind, str) or wanted not in (None, kind):
            raise ModelError(
                f"model {name!r} is no SVD: its model_index.json states {part}={printable(stated)}"
                + (f"; it should be {wanted}" if wanted else "")
            )


def check_folder(name: str, folder: Path, variant: str | None) -> None:
    """See that the weights of a folder are whole, if it has any: those of the variant, or of one that is there.

    Raises:
        ModelError: a part has none, or a file that is damaged; keys are missing or unexpected, or have other shapes.

    """
    if not any(
        file for part in PARTS for ending in ("safetensors*", "bin*") for file in folder.glob(f"{part}/*.{ending}")
    ):
        return  # configs alone, with which a generation can be planned
    likes = shapes_of(name, {part: _config(name, folder, part) for part in PARTS})
    _check_rest(name, folder)
    faults = []
    for candidate in [variant] if variant else _loaded_unasked(folder):
        fault = _fault_of_variant(folder, candidate, likes)
        if fault is None:
            return
        faults.append(fault)
    what = f" (variant {variant})" if variant else ""
    raise ModelError(f"model {name!r}{what} cannot be loaded: {faults[0]}")


def _check_rest(name: str, folder: Path) -> None:
    """See that what has no weights can be built as well."""
    from diffusers import EulerDiscreteScheduler

    for file in ("feature_extractor/preprocessor_config.json", "scheduler/scheduler_config.json"):
        try:
            config = read_config(folder / file)
            if config.get("_class_name") == EulerDiscreteScheduler.__name__:
                EulerDiscreteScheduler.from_config(config)
        except Exception as error:  # the class raises whatever it stumbles over
            raise ModelError(f"model {name!r} cannot be loaded: {file} {printable(error)}") from None


def variants_of(folder: Path) -> list[str]:
    """Return the variants of which the UNet has weights, such as fp16."""
    pattern = re.compile(rf"{PARTS['unet'][0]}(?:\.safetensors\.index)?\.(?!safetensors)([^.]+?)(-\d+-of-\d+)?\.")
    names = sorted(file.name for file in folder.glob("unet/*") if "safetensors" in file.name)
    return list(dict.fromkeys(found[1] for each in names if (found := pattern.match(each))))


def _loaded_unasked(folder: Path) -> list[str | None]:
    """Return the variants in the folder that loading tries if none is requested."""
    there: list[str | None] = [each for each in variants_of(folder) if each == "fp16"]
    plain = list(folder.glob(f"unet/{PARTS['unet'][0]}.safetensors*")) + list(
        folder.glob(f"unet/{PARTS['unet'][0]}-*.safetensors")
    )
    return [None, *there] if plain or not there else there


def seems_folder(folder: Path) -> str:
    """Return what a folder seems to be that is no model's, as the end of a sentence, or nothing."""
    if (folder.parent / "model_index.json").exists():
        return f"; it is a part of one: name {str(folder.parent)!r}"
    if (folder / "adapter_config.json").exists() or (folder / "pytorch_lora_weights.safetensors").exists():
        return "; it seems to hold a LoRA, which changes a model and is none"
    files = sorted(folder.glob("*.safetensors"))
    if files:
        return f"; to use a single file, name it, such as {str(files[0])!r}"
    return ""


def _config(name: str, folder: Path, part: str) -> dict[str, Any]:
    try:
        config = read_config(folder / part / "config.json")
    except ValueError as error:
        raise ModelError(f"model {name!r}: {part}/config.json {error}") from None
    quantised = config.get("quantization_config")
    if quantised:
        method = quantised.get("quant_method") if isinstance(quantised, dict) else quantised
        raise ModelError(
            f"model {name!r}: its {part} is quantised ({printable(method)}), which longtake does not read; take one in"
            " float16, bfloat16 or float32, and hold it in 8 bits with --weights float8"
        )
    return config


def _fault_of_variant(folder: Path, variant: str | None, likes: Mapping[str, Mapping[str, Tensor]]) -> str | None:
    for part, like in likes.items():
        try:
            fault = _fault_of_part(folder / part, part, variant, like)
        except ValueError as error:
            fault = str(error)
        if fault:
            return fault
    return None


def _fault_of_part(place: Path, part: str, variant: str | None, like: Mapping[str, Tensor]) -> str | None:
    """Return why the weights of a part are not those that its config describes, or None."""
    shapes: dict[str, tuple[int, ...]] = {}
    dtypes: dict[str, str] = {}
    for file in _files(place, part, variant):
        try:
            more = read_header(file)
        except ValueError as error:
            return f"{part}/{file.name} {error}"
        shapes |= more[0]
        dtypes |= more[1]
    if fault := fault_of_averages(list(shapes)):
        return f"its {part} {fault}; take a published model, or save the set you want under its own keys"
    unexpected = [key for key in shapes if key not in like and key != IGNORED]
    if said := said_of_keys([key for key in like if key not in shapes], unexpected):
        return f"the weights of its {part} are not whole; {said}"
    for key, weight in like.items():
        if shapes[key] != tuple(weight.shape):
            return f"{key} of its {part} should be {tuple(weight.shape)} by its config, got {shapes[key]}"
    if fault := fault_of_numbers(dtypes):
        return f"its {part} {fault}"
    return None


def _files(place: Path, part: str, variant: str | None) -> list[Path]:
    """Return the files of a part's weights; where a variant is not there, those without, as diffusers has it.

    Raises:
        ValueError: there are none, or an index of several names some that are not there.

    """
    stem = PARTS[part][0]
    for dotted in (f".{variant}", "") if variant else ("",):
        single, index = place / f"{stem}{dotted}.safetensors", place / f"{stem}.safetensors.index{dotted}.json"
        if index.is_file() and not single.exists():
            return _shards(place, part, index)
        if single.exists() or single.is_symlink():
            return [single]
        if part == "unet" and variant:
            there = ", ".join(variants_of(place.parent)) or "none"
            raise ValueError(f"its UNet has no file named {single.name}; variants that are there: {there}")
    pickles = sorted(place.glob("*.bin"))
    if pickles:
        raise ValueError("".join(f"\n{pickle} {refusal_of_pickle(pickle)}" for pickle in pickles))
    there = f"; it has the variant {variants_of(place.parent)[0]}, to be named" if variants_of(place.parent) else ""
    raise ValueError(f"its {part} has no file named {stem}.safetensors{there if part == 'unet' else ''}")


def _shards(place: Path, part: str, index: Path) -> list[Path]:
    try:
        mapping = read_config(index).get("weight_map")
    except ValueError as error:
        raise ValueError(f"{part}/{index.name} {error}") from None
    if not isinstance(mapping, dict) or not all(isinstance(each, str) for each in mapping.values()):
        raise ValueError(f"{part}/{index.name} states no files")
    files = sorted(set(mapping.values()))
    outside = [each for each in files if Path(each).name != each]
    gone = [each for each in files if not (place / each).exists()]
    if outside or gone:
        listed = ", ".join(printable(each) for each in (outside or gone)[:3])
        raise ValueError(f"{len(outside or gone)} of the {len(files)} files of its {part} are missing: {listed}")
    return [place / each for each in files]


def _kind(data: Any) -> str:
    return {list: "a list", str: "a text", type(None): "nothing"}.get(type(data), "a number")
