"""What a model is, read from its configs without loading its weights; where its files are.

A model is known by a name: the one that ships, a folder in diffusers' layout, a single file in the original layout, or
a name on the model hub.
"""

from __future__ import annotations

import json
import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from pydantic import ConfigDict, PositiveFloat, PositiveInt, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass
from safetensors import SafetensorError, safe_open

from .checkpoint.contents import checkpoint_file, open_checkpoint
from .checkpoint.single_file import FRAMES, SingleFile, frames_by_name
from .config import EMBEDDED
from .engine.memory import UnetShape
from .errors import ModelError, check_kind, explain, first_line
from .parts import check_scheduler

logger = logging.getLogger("longtake")

OWN_FILE = "longtake.json"  # beside model_index.json: what no config of diffusers has a place for
PIPELINE = "StableVideoDiffusionPipeline"
# The pixel area of 1024 x 576 is that of 768 x 768, which SVD's config states as its sample size.
SVD_AREA = 768 * 768
SVD_SAMPLE_SIZE = 96
SVD_UNET = UnetShape(channels=(320, 640, 1280, 1280), layers=2, parameters=1_524_623_082)
SVD_BLOCKS = ("CrossAttnDownBlockSpatioTemporal",) * 3 + ("DownBlockSpatioTemporal",)
SVD_TOP_BUCKET = 255.0
SVD_VAE = (128, 256, 512, 512)
SVD_VAE_PARAMETERS = 97_742_847
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
        vae_parameters: of the VAE; 0 where they are not known.
        top_bucket: highest motion bucket that it was trained on.
        guessed: whether the trained length is taken from the name of a file.

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
    vae_parameters: int = 0
    top_bucket: PositiveFloat = SVD_TOP_BUCKET
    guessed: bool = False

    def without_weights(self) -> Self:
        """Return the facts for a plan of what is taken beside weights, which are brought part by part."""
        return replace(self, unet=replace(self.unet, parameters=0), vae_parameters=0)

    def native_size(self, *, portrait: bool = False) -> tuple[int, int]:
        """Return the (width, height) that it was trained on: 1024 x 576 for SVD, either way up."""
        if self.sample_size**2 != SVD_AREA:
            return self.sample_size, self.sample_size
        return (576, 1024) if portrait else (1024, 576)


def embedded_model() -> Path:
    """Return the folder of the small model that ships with longtake."""
    return Path(__file__).parent / "embedded"


def read_facts(name: str | Path, trained: int | None = None) -> ModelFacts:
    """Return the facts of a model: those of the published SVDs are known, else no more than heads of files is read.

    Args:
        name: of the model.
        trained: frames that it was trained on. Where a single file is named, they are guessed by its name otherwise,
            which is said as a warning of the logger ``longtake``; a config states them itself.

    Raises:
        ModelError: there is no such folder, file or repository, it holds no SVD, or one trained on other frames.

    """
    check_kind("name", name, (str, Path), "the name of a model, or a path")
    name = str(name)
    if trained is not None and trained < 1:
        raise ModelError(f"trained={trained} was asked for; a model is trained on one frame or more")
    checkpoint = single_file(name)
    if checkpoint:
        return _facts_of_file(name, checkpoint, trained)
    if name in PUBLISHED and not Path(name).is_dir():
        facts = ModelFacts(name, PUBLISHED[name], 4, 8, 64, 768, 0.002, 700.0, SVD_UNET, SVD_VAE, SVD_VAE_PARAMETERS)
        return agreed(facts, trained)
    pipeline = _read_json(name, "model_index.json").get("_class_name")
    if pipeline != PIPELINE:
        raise ModelError(f"model {name!r} is a {pipeline}, not Stable Video Diffusion ({PIPELINE})")
    configs = [_read_json(name, f"{part}/{file}.json") for part, file in _PARTS]
    check_scheduler(configs[-1], name)
    folder = folder_of(name) or _hub_file(name, "model_index.json").parent
    parameters = _parameters(folder, "unet"), _parameters(folder, "vae")
    facts = facts_from(name, parameters, *configs)
    if (folder / OWN_FILE).exists():
        own = _read_json(name, OWN_FILE)
        facts = replace(facts, top_bucket=float(own.get("top_motion_bucket", SVD_TOP_BUCKET)))
    return agreed(facts, trained)


def agreed(facts: ModelFacts, trained: int | None) -> ModelFacts:
    """Return the facts of a model whose trained length is known, if that is what was asked for.

    Raises:
        ModelError: it is not.

    """
    if trained not in (None, facts.trained):
        raise ModelError(
            f"trained={trained} was asked for, but model {facts.name!r} is known to be trained on {facts.trained}"
            f" frames; leave it out"
        )
    return facts


def single_file(name: str) -> SingleFile | None:
    """Return what the file that a name means holds, or None where it means no file.

    Raises:
        ModelError: there is no such file, or it holds no whole SVD in the original layout.

    """
    path = None if name == EMBEDDED else checkpoint_file(name)
    return SingleFile.of(open_checkpoint(name, path)) if path else None


def _facts_of_file(name: str, file: SingleFile, trained: int | None) -> ModelFacts:
    frames = frames_by_name(file.checkpoint.path) if trained is None else trained
    configs = file.configs(frames)
    if trained is None:
        logger.warning(
            "%s does not say how many frames it was trained on: taken as %d, because its name has %s; --trained says"
            " otherwise",
            *(name, frames, '"xt"' if frames != FRAMES else 'no "xt"'),
        )
    facts = facts_from(name, file.parameters, configs["unet"], configs["vae"], configs["scheduler"])
    return replace(facts, guessed=trained is None)


_PARTS = (("unet", "config"), ("vae", "config"), ("scheduler", "scheduler_config"))


def _parameters(folder: Path, part: str) -> int:
    """Return how many numbers the weights of a part are, from the heads of the files; 0 where they are not here."""
    found: dict[str, int] = {}
    for file in sorted(folder.glob(f"{part}/*.safetensors")):
        try:
            with safe_open(file, "pt") as weights:
                found |= {key: math.prod(weights.get_slice(key).get_shape()) for key in weights.keys()}  # noqa: SIM118
        except (OSError, SafetensorError):  # loading it will say so
            continue
    return sum(found.values())


def facts_from(
    name: str, parameters: tuple[int, int], unet: dict[str, Any], vae: dict[str, Any], scheduler: dict[str, Any]
) -> ModelFacts:
    """Return the facts that the configs of a model's parts state; ``parameters`` are those of UNet and VAE.

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
            unet=_shape(unet, vae["latent_channels"], parameters[0]),
            vae_channels=tuple(vae["block_out_channels"]),
            vae_parameters=parameters[1],
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
    if name.count("/") != 1 or name.startswith((".", "~", "/")):
        raise ModelError(
            f"model folder {name!r} does not exist; give a diffusers folder, a single .safetensors file, a "
            f"name on the model hub such as stabilityai/stable-video-diffusion-img2vid-xt, or {EMBEDDED!r}"
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
            f"model {name!r} is no local folder and could not be had from the model hub: {first_line(error)}"
            f"{hub_hint(name)}"
        ) from None


def hub_hint(name: str) -> str:
    """Return what to do where a name on the hub cannot be had, in lines of their own."""
    from huggingface_hub import constants

    offline = "HF_HUB_OFFLINE forbids the network; without it" if constants.HF_HUB_OFFLINE else "with a network"
    return (
        f"\nit is looked for in the hub's cache, {constants.HF_HUB_CACHE}, first; {offline}, this fetches it:"
        f" hf download {name}\nif the model is gated, accept its licence on its page and log in with: hf auth login"
    )
