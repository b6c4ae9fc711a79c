"""Finding and loading SVD: the facts from its configs, the weights from a folder or the model hub."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import ConfigDict, PositiveFloat, PositiveInt, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass
from safetensors import SafetensorError

from .config import EMBEDDED
from .errors import ModelError, explain

if TYPE_CHECKING:
    from diffusers import StableVideoDiffusionPipeline

PIPELINE = "StableVideoDiffusionPipeline"
# The pixel area of 1024 x 576 is that of 768 x 768, which SVD's config states as its sample size.
SVD_AREA = 768 * 768
SVD_SAMPLE_SIZE = 96
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

    """

    name: str
    trained: PositiveInt
    latent_channels: PositiveInt
    vae_factor: PositiveInt
    smallest: PositiveInt
    sample_size: PositiveInt
    sigma_min: PositiveFloat
    sigma_max: PositiveFloat

    def native_size(self, *, portrait: bool = False) -> tuple[int, int]:
        """Return the (width, height) that it was trained on: 1024 x 576 for SVD, either way up."""
        if self.sample_size**2 != SVD_AREA:
            return self.sample_size, self.sample_size
        return (576, 1024) if portrait else (1024, 576)


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded SVD: diffusers' pipeline as the holder of its parts, and the facts."""

    pipeline: StableVideoDiffusionPipeline
    facts: ModelFacts

    @property
    def device(self) -> torch.device:
        """Where the UNet is."""
        return torch.device(self.pipeline.unet.device)

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the UNet's weights."""
        dtype: torch.dtype = self.pipeline.unet.dtype
        return dtype


def embedded_model() -> Path:
    """Return the folder of the small model that ships with longtake."""
    return Path(__file__).parent / "embedded"


def read_facts(name: str) -> ModelFacts:
    """Return the facts of a model: those of the published SVDs are known, else three small config files are read.

    Raises:
        ModelError: there is no such folder or repository, or it holds no SVD.

    """
    if name in PUBLISHED and not Path(name).is_dir():
        return ModelFacts(name, PUBLISHED[name], 4, 8, 64, 768, 0.002, 700.0)
    pipeline = _read_json(name, "model_index.json").get("_class_name")
    if pipeline != PIPELINE:
        raise ModelError(f"model {name!r} is a {pipeline}, not Stable Video Diffusion ({PIPELINE})")
    configs = (_read_json(name, f"{part}/{file}.json") for part, file in _PARTS)
    return _facts(name, *configs)


_PARTS = (("unet", "config"), ("vae", "config"), ("scheduler", "scheduler_config"))


def _facts(name: str, unet: dict[str, Any], vae: dict[str, Any], scheduler: dict[str, Any]) -> ModelFacts:
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
        )
    except KeyError as error:
        raise ModelError(f"model {name!r} is no complete SVD: its configs do not state {error}") from None
    except TypeError as error:
        raise ModelError(f"model {name!r} is no complete SVD: a config holds something else: {error}") from None
    except ValidationError as error:
        raise ModelError(f"model {name!r} is no complete SVD: {explain(error, ())}") from None


def _folder(name: str) -> Path | None:
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
    folder = _folder(name)
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
            f"model {name!r} is no local folder and could not be had from the model hub: {_first_line(error)}{HUB_HINT}"
        ) from None


def _first_line(error: Exception) -> str:
    """Return the first sentence of an error, which is what tells; libraries go on about their own arguments."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].split(". ")[0].split(" (")[0]


def choose_device(asked: str | None) -> torch.device:
    """Return the device asked for, or the best one there is.

    Raises:
        ModelError: there is no such device here.

    """
    if asked is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(asked)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise ModelError(f"device {asked!r} is not available here; try cpu") from None
    return device


def choose_dtype(asked: str | None, device: torch.device) -> torch.dtype:
    """Return the precision asked for, by default float32 on a CPU and float16, which SVD was trained in, elsewhere."""
    if asked is None:
        return torch.float32 if device.type == "cpu" else torch.float16
    dtype: torch.dtype = getattr(torch, asked)
    return dtype


def load_model(
    name: str = EMBEDDED,
    *,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    variant: str | None = None,
) -> Model:
    """Load the weights of SVD; only safetensors, never pickles.

    Args:
        name: ``"embedded"``, a folder in diffusers' layout, or a name on the model hub.
        dtype: precision of the weights; by default float32 on a CPU, else float16.
        device: where to; by default the best there is.
        variant: of the weight files, such as ``"fp16"``; by default whichever fits the precision and exists.

    Raises:
        ModelError: it cannot be found or loaded, or is no SVD.

    """
    facts = read_facts(name)
    device = device if isinstance(device, torch.device) else choose_device(device)
    dtype = dtype if isinstance(dtype, torch.dtype) else choose_dtype(dtype, device)
    folder = _folder(name)
    failures = []
    for candidate in [variant] if variant else _variants(folder, dtype):
        try:
            pipeline = _load_pipeline(str(folder or name), dtype, candidate)
        except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as error:
            failures.append(_first_line(error))
        else:
            _check_sizes(pipeline, name)
            return Model(pipeline.to(device), facts)
    what = f" (variant {variant})" if variant else ""
    hint = "" if folder else HUB_HINT
    raise ModelError(f"model {name!r}{what} cannot be loaded: " + "\n".join(dict.fromkeys(failures)) + hint)


def _check_sizes(pipeline: StableVideoDiffusionPipeline, name: str) -> None:
    """Find out now, and not in the middle of a run, that the parts do not fit each other as SVD's do."""
    unet, vae = pipeline.unet, pipeline.vae
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


def _load_pipeline(path: str, dtype: torch.dtype, variant: str | None) -> StableVideoDiffusionPipeline:
    from diffusers import StableVideoDiffusionPipeline

    return StableVideoDiffusionPipeline.from_pretrained(path, dtype=dtype, variant=variant, use_safetensors=True)


def _variants(folder: Path | None, dtype: torch.dtype) -> list[str | None]:
    """Return which weight files to try: those of half the size first where half precision is wanted anyway."""
    preferred: list[str | None] = [None, "fp16"] if dtype == torch.float32 else ["fp16", None]
    if folder is None:
        return preferred
    has_half = any(folder.glob("unet/*.fp16*.safetensors"))
    has_plain = any(".fp16" not in file.name for file in folder.glob("unet/*.safetensors"))
    present = {"fp16": has_half, None: has_plain or not has_half}
    return [variant for variant in preferred if present[variant]]
