"""What a model is, read from its configs without loading its weights; where its files are.

A model is known by a name: the one that ships, a folder in diffusers' layout, or a name on the model hub.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, PositiveFloat, PositiveInt, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass
from safetensors import SafetensorError, safe_open

from .config import EMBEDDED
from .engine.memory import UnetShape
from .errors import ModelError, explain

OWN_FILE = "longtake.json"  # beside model_index.json: what no config of diffusers has a place for
PIPELINE = "StableVideoDiffusionPipeline"
# The pixel area of 1024 x 576 is that of 768 x 768, which SVD's config states as its sample size.
SVD_AREA = 768 * 768
SVD_SAMPLE_SIZE = 96
SVD_UNET = UnetShape(channels=(320, 640, 1280, 1280), layers=2, parameters=1_524_623_082)
SVD_BLOCKS = ("CrossAttnDownBlockSpatioTemporal",) * 3 + ("DownBlockSpatioTemporal",)
SVD_TOP_BUCKET = 255.0
SVD_VAE = (128, 256, 512, 512)
HUB_HINT = """
it needs a network, or a copy in the hub's cache; if the model is gated, accept its licence on its page and log in with:
hf auth login"""
# Name on the hub → frames that it was trained on; so that a plan needs no network.
PUBLISHED = {
    "stabilityai/stable-video-diffusion-img2vid": 14,
    "stabilityai/stable-video-diffusion-img2vid-xt": 25,
    "stabilityai/stable-video-diffusion-img2vid-xt-1-1": 25,
}


@checked_dataclass(frozen=True, slots=True, config=ConfigDict(strict=True))
class ModelFacts:
    """What a plan needs to know of a model, read from its configs without loading any weights.

    Attributes:
        name: as asked for.
        trained: frames that it was trained on (L).
        latent_channels: channels of a latent frame.
        vae_factor: pixels per latent in each direction; sizes are multiples of it.
        smallest: the least width and height at which every level of the UNet has something to work on.
        sample_size: width and height in pixels that its config states.
        sigma_min: lowest noise level that it knows.
        sigma_max: highest noise level that it knows.
        unet: what decides how much memory its UNet takes.
        vae_channels: of each level of its VAE, the one of whole pictures first.
        top_bucket: highest motion bucket that it was trained on.

    """

    name: str
    trained: PositiveInt
    latent_channels: PositiveInt
    vae_factor: PositiveInt
    smallest: PositiveInt
    sample_size: PositiveInt
    sigma_min: PositiveFloat
    sigma_max: PositiveFloat
    unet: UnetShape
    vae_channels: tuple[PositiveInt, ...]
    top_bucket: PositiveFloat = SVD_TOP_BUCKET

    def native_size(self, *, portrait: bool = False) -> tuple[int, int]:
        """Return the (width, height) that it was trained on: 1024 x 576 for SVD, either way up."""
        if self.sample_size**2 != SVD_AREA:
            return self.sample_size, self.sample_size
        return (576, 1024) if portrait else (1024, 576)


def embedded_model() -> Path:
    """Return the folder of the small model that ships with longtake."""
    return Path(__file__).parent / "embedded"


def read_facts(name: str) -> ModelFacts:
    """Return the facts of a model: those of the published SVDs are known, else three small config files are read.

    Raises:
        ModelError: there is no such folder or repository, or it holds no SVD.

    """
    if name in PUBLISHED and not Path(name).is_dir():
        return ModelFacts(name, PUBLISHED[name], 4, 8, 64, 768, 0.002, 700.0, SVD_UNET, SVD_VAE)
    pipeline = _read_json(name, "model_index.json").get("_class_name")
    if pipeline != PIPELINE:
        raise ModelError(f"model {name!r} is a {pipeline}, not Stable Video Diffusion ({PIPELINE})")
    configs = (_read_json(name, f"{part}/{file}.json") for part, file in _PARTS)
    facts, folder = facts_from(name, _parameters(folder_of(name)), *configs), folder_of(name)
    own = folder / OWN_FILE if folder else None
    if own and own.exists():
        return replace(facts, top_bucket=float(_read_json(name, OWN_FILE).get("top_motion_bucket", SVD_TOP_BUCKET)))
    return facts


_PARTS = (("unet", "config"), ("vae", "config"), ("scheduler", "scheduler_config"))


def _parameters(folder: Path | None) -> int:
    """Return how many numbers the UNet's weights are, from the heads of the files; 0 where they are not here."""
    found: dict[str, int] = {}
    for file in sorted(folder.glob("unet/*.safetensors")) if folder else ():
        try:
            with safe_open(file, "pt") as weights:
                found |= {key: math.prod(weights.get_slice(key).get_shape()) for key in weights.keys()}  # noqa: SIM118
        except (OSError, SafetensorError):  # loading it will say so
            continue
    return sum(found.values())


def facts_from(
    name: str, parameters: int, unet: dict[str, Any], vae: dict[str, Any], scheduler: dict[str, Any]
) -> ModelFacts:
    """Return the facts that the configs of a model's parts state.

    Raises:
        ModelError: they do not state all of them, or something else.

    """
    try:
        factor = 2 ** (len(vae["block_out_channels"]) - 1)
        return ModelFacts(
            name=name,
            trained=unet["num_frames"],
            latent_channels=vae["latent_channels"],
            vae_factor=factor,
            smallest=factor * 2 ** (len(unet["block_out_channels"]) - 1),
            sample_size=(unet.get("sample_size") or SVD_SAMPLE_SIZE) * factor,
            sigma_min=scheduler.get("sigma_min") or 0.002,
            sigma_max=scheduler.get("sigma_max") or 700.0,
            unet=_shape(unet, vae["latent_channels"], parameters),
            vae_channels=tuple(vae["block_out_channels"]),
        )
    except KeyError as error:
        raise ModelError(f"model {name!r} is no complete SVD: its configs do not state {error}") from None
    except TypeError as error:
        raise ModelError(f"model {name!r} is no complete SVD: a config holds something else: {error}") from None
    except ValidationError as error:
        raise ModelError(f"model {name!r} is no complete SVD: {explain(error, ())}") from None


def _shape(unet: dict[str, Any], latent_channels: int, parameters: int) -> UnetShape:
    layers = unet.get("layers_per_block", 2)
    most = max(layers) if isinstance(layers, list) else layers
    channels = tuple(unet["block_out_channels"])
    blocks = unet.get("down_block_types") or SVD_BLOCKS
    return UnetShape(channels, most, latent_channels, parameters, tuple("CrossAttn" in block for block in blocks))


def folder_of(name: str) -> Path | None:
    """Return the local folder that a name means, or None for a name on the hub."""
    if name == EMBEDDED:
        return embedded_model()
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.is_file():
        raise ModelError(
            f"model {name!r} is a file; longtake loads folders in diffusers' layout "
            f"(a single-file checkpoint becomes one with diffusers' from_single_file and save_pretrained)"
        )
    if name.count("/") != 1 or name.startswith((".", "~", "/")):
        raise ModelError(
            f"model folder {name!r} does not exist; give a diffusers folder, a name on the model hub such as "
            f"stabilityai/stable-video-diffusion-img2vid-xt, or {EMBEDDED!r}"
        )
    return None


def _read_json(name: str, file: str) -> dict[str, Any]:
    folder = folder_of(name)
    path = folder / file if folder else _hub_file(name, file)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"model folder {name!r} is no SVD in diffusers' layout: it has no {file}") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"model {name!r}: {file} cannot be read: {error}") from None
    if not isinstance(data, dict):
        raise ModelError(f"model {name!r}: {file} holds no settings")
    return data


def _hub_file(name: str, file: str) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(name, file))
    except Exception as error:  # the hub's client raises its own, the HTTP library's and OSError
        raise ModelError(
            f"model {name!r} is no local folder and could not be had from the model hub: {first_line(error)}{HUB_HINT}"
        ) from None


def first_line(error: Exception) -> str:
    """Return the first sentence of an error, which is what tells; libraries go on about their own arguments."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].split(". ")[0].split(" (")[0]
