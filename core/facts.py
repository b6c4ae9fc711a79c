"""What a model is, read from its configs without loading its weights.

A model is known by a name: the one that ships, a folder in diffusers' layout, a single file in the original layout, or
a name on the model hub.
"""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from pydantic import ConfigDict, PositiveFloat, PositiveInt, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from .checkpoint.contents import checkpoint_file, open_checkpoint, read_header
from .checkpoint.conversion import check_keys
from .checkpoint.expected import check_numbers, shapes_of
from .checkpoint.folder import PARTS, check_folder, check_index
from .checkpoint.single_file import FRAMES, SingleFile, frames_by_name
from .config import EMBEDDED
from .engine.memory import UnetShape
from .errors import ModelError, check_kind, explain, printable
from .parts import check_scheduler
from .places import folder_of, hub_file, read_json

logger = logging.getLogger("longtake")

OWN_FILE = "longtake.json"  # beside model_index.json: what no config of diffusers has a place for
PIPELINE = "StableVideoDiffusionPipeline"
# The pixel area of 1024 x 576 is that of 768 x 768, which SVD's config states as its sample size.
SVD_AREA = 768 * 768
SVD_SAMPLE_SIZE = 96
SVD_UNET = UnetShape(channels=(320, 640, 1280, 1280), layers=2, parameters=1_524_623_082)
SVD_BLOCKS = ("CrossAttnDownBlockSpatioTemporal",) * 3 + ("DownBlockSpatioTemporal",)
SVD_TOP_BUCKET = 255.0
SIGMA_MOST = 1e6
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


def read_facts(name: str | Path, trained: int | None = None, variant: str | None = None) -> ModelFacts:
    """Return the facts of a model: those of the published SVDs are known, else no more than heads of files is read.

    Local weights are compared with the configs, so that an incomplete model is refused now.

    Args:
        name: of the model.
        trained: frames that it was trained on. Where a single file is named, they are guessed by its name otherwise,
            which is said as a warning of the logger ``longtake``; a config states them itself.
        variant: of the weight files of a folder, such as ``"fp16"``; by default whichever is there.

    Raises:
        ModelError: there is no such folder, file or repository, it holds no SVD, or one that is not whole or was
            trained on other frames.

    """
    check_kind("name", name, (str, Path), "the name of a model, or a path")
    name = str(name)
    if trained is not None and trained < 1:
        raise ModelError(f"trained={trained} was asked for; a model is trained on one frame or more")
    checkpoint = single_file(name)
    if checkpoint:
        if variant:
            raise ModelError(f"variant={variant!r} was asked for, but {name!r} is a single file, which has none")
        return _facts_of_file(name, checkpoint, trained)
    if name in PUBLISHED and not Path(name).is_dir():
        facts = ModelFacts(name, PUBLISHED[name], 4, 8, 64, 768, 0.002, 700.0, SVD_UNET, SVD_VAE, SVD_VAE_PARAMETERS)
        return agreed(facts, trained)
    index = read_json(name, "model_index.json")
    if index.get("_class_name") != PIPELINE:
        kind = printable(index.get("_class_name"))
        raise ModelError(f"model {name!r} is a {kind}, not Stable Video Diffusion ({PIPELINE})")
    check_index(name, index)
    configs = {part: read_json(name, f"{part}/{file}.json") for part, file in _PARTS}
    check_scheduler(configs["scheduler"], name)
    folder = folder_of(name) or hub_file(name, "model_index.json").parent
    parameters = _parameters(folder, "unet"), _parameters(folder, "vae")
    facts = facts_from(name, parameters, *configs.values())
    for part in ("unet", "vae"):
        check_numbers(name, part, configs[part])
    if (folder / OWN_FILE).exists():
        top = read_json(name, OWN_FILE).get("top_motion_bucket", SVD_TOP_BUCKET)
        if not isinstance(top, int | float) or not 0 < top < math.inf:
            raise ModelError(f"model {name!r}: {OWN_FILE} states top_motion_bucket={printable(top)}; it is above 0")
        facts = replace(facts, top_bucket=float(top))
    if folder_of(name) and name != EMBEDDED:  # a copy from the hub may be whole only once it is loaded
        check_folder(name, folder, variant)
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
    check_keys(file, shapes_of(name, {part: configs[part] for part in PARTS}))
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
        with suppress(ValueError):  # a damaged file is refused where all of it is checked
            found |= {key: math.prod(shape) for key, shape in read_header(file)[0].items()}
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
        facts = ModelFacts(
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
    except ValidationError as error:
        raise ModelError(f"model {name!r} is no complete SVD: {explain(error, ())}") from None
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ModelError(
            f"model {name!r} is no complete SVD: a config holds something else: {printable(error)}"
        ) from None
    _check_noise(facts)
    return facts


def _check_noise(facts: ModelFacts) -> None:
    """Refuse noise levels that are not those of an SVD."""
    if not facts.sigma_min < facts.sigma_max <= SIGMA_MOST:
        raise ModelError(
            f"model {facts.name!r} is no SVD: its scheduler states noise levels from {facts.sigma_min:g} to"
            f" {facts.sigma_max:g}; they should rise, to {SIGMA_MOST:g} at most"
        )


def _shape(unet: dict[str, Any], latent_channels: int, parameters: int) -> UnetShape:
    layers = unet.get("layers_per_block", 2)
    most = max(layers) if isinstance(layers, list) else layers
    channels = tuple(unet["block_out_channels"])
    blocks = unet.get("down_block_types") or SVD_BLOCKS
    return UnetShape(channels, most, latent_channels, parameters, tuple("CrossAttn" in block for block in blocks))
