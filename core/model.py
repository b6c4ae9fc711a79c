"""Loading SVD from a folder, a single file, or the model hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .budget.devices import is_here, is_out_of_memory
from .checkpoint.conversion import load_single_file
from .checkpoint.expected import check_sizes
from .checkpoint.folder import check_folder
from .config import EMBEDDED
from .errors import ModelError, check_kind, first_line
from .facts import ModelFacts, facts_from, read_facts, single_file
from .loading import loading
from .parts import PARTS, check_scheduler_class, check_unet, check_vae, held_parts
from .places import folder_of, hub_hint

if TYPE_CHECKING:
    from diffusers import StableVideoDiffusionPipeline

DTYPES = ("float32", "float16", "bfloat16")
STORED = {"float8": "float8_e4m3fn"}


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded SVD: diffusers' pipeline as the holder of its parts, and the facts.

    Attributes:
        pipeline: of diffusers; what is done to it (adapters, offloading) counts here too.
        facts: of the model.
        brought_to: a device to which each part is brought while it works, and from which it is taken again; None: all
            parts stay where they are.

    """

    pipeline: StableVideoDiffusionPipeline
    facts: ModelFacts
    brought_to: torch.device | None = None

    @classmethod
    def of(cls, pipeline: StableVideoDiffusionPipeline, name: str = "pipeline") -> Model:
        """Return a pipeline that is loaded already as a model.

        Raises:
            ModelError: it is no SVD, or has a scheduler or a part whose own way would be passed over.

        """
        facts = facts_of(pipeline, name)
        _check_parts(pipeline, name)
        return cls(pipeline, facts)

    def check(self) -> None:
        """See that the pipeline still has no scheduler or part whose own way would be passed over.

        Raises:
            ModelError: it has.

        """
        _check_parts(self.pipeline, self.facts.name)

    @property
    def device(self) -> torch.device:
        """Where it works, which is not where its weights are while they are offloaded."""
        return self.brought_to or torch.device(self.pipeline._execution_device)

    @property
    def stays(self) -> bool:
        """Whether its weights are on the device already, and stay there."""
        return self.brought_to is None and next(self.pipeline.unet.parameters()).device.type == self.device.type

    @property
    def weights(self) -> str | None:
        """How the UNet's weights are held, where that is not how they are computed with: "float8", or None."""
        held = self.pipeline.unet.conv_in.weight.dtype
        return next((name for name, dtype in STORED.items() if held == getattr(torch, dtype)), None)

    def held(self) -> AbstractContextManager[None]:
        """Keep other threads from the model for the time of the block; they wait. See :mod:`longtake.core.holding`."""
        return held_parts(self.pipeline)

    @contextmanager
    def at_hand(self, part: str) -> Iterator[Any]:
        """Give a part of the pipeline where it works, for the time of the block, in which the model is held."""
        with self.held():
            module = getattr(self.pipeline, part)
            if self.brought_to is None:
                yield module
                return
            home = module.device
            module.to(self.brought_to)
            try:
                yield module
            finally:
                module.to(home)

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the UNet's weights."""
        dtype: torch.dtype = self.pipeline.unet.dtype
        return dtype


def facts_of(pipeline: StableVideoDiffusionPipeline, name: str = "pipeline") -> ModelFacts:
    """Return the facts of a pipeline that is loaded already, whatever its scheduler and its VAE's way to decode.

    Raises:
        ModelError: it is no SVD, or its UNet has a forward that would be passed over.

    """
    for part in (*PARTS, "scheduler"):
        if getattr(pipeline, part, None) is None:
            raise ModelError(f"a StableVideoDiffusionPipeline is needed, and {type(pipeline).__name__} has no {part}")
    check_unet(pipeline.unet)
    unet, vae = (sum(weights.numel() for weights in part.parameters()) for part in (pipeline.unet, pipeline.vae))
    parts = (pipeline.unet, pipeline.vae, pipeline.scheduler)
    facts = facts_from(name, (unet, vae), *(dict(part.config) for part in parts))
    check_sizes(name, pipeline.unet, pipeline.vae)
    return facts


def _check_parts(pipeline: StableVideoDiffusionPipeline, name: str) -> None:
    """See that longtake's own loop and decoder pass nothing over."""
    check_unet(pipeline.unet)
    check_vae(pipeline.vae)
    check_scheduler_class(pipeline.scheduler, name)
    check_sizes(name, pipeline.unet, pipeline.vae)


def choose_device(asked: str | None, *, elsewhere: bool = False) -> torch.device:
    """Return the device asked for, or the best one there is; one that is ``elsewhere`` need not be here.

    Raises:
        ModelError: there is no such device here.

    """
    if asked is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    with suppress(RuntimeError):
        device = torch.device(asked)
        if elsewhere or is_here(device):
            return device
    raise ModelError(f"device {asked!r} is not available here; try cpu")


def choose_dtype(asked: str | None, device: torch.device) -> torch.dtype:
    """Return the precision asked for, by default float32 on a CPU and float16, which SVD was trained in, elsewhere.

    Raises:
        ModelError: it is none of those that SVD runs in.

    """
    if asked is None:
        return torch.float32 if device.type == "cpu" else torch.float16
    if asked not in DTYPES:
        raise ModelError(f"dtype {asked!r} is not known; known: {', '.join(DTYPES)}")
    dtype: torch.dtype = getattr(torch, asked)
    return dtype


def load_model(
    name: str | Path = EMBEDDED,
    *,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    variant: str | None = None,
    weights: str | None = None,
    in_turn: bool = False,
    trained: int | None = None,
) -> Model:
    """Load the weights of SVD; only safetensors, never pickles.

    Args:
        name: ``"embedded"``, a folder in diffusers' layout, a ``.safetensors`` file in the original layout, or a name
            on the model hub.
        dtype: precision of the weights; by default float32 on a CPU, else float16.
        device: where to; by default the best there is.
        variant: of the weight files, such as ``"fp16"``; by default whichever fits the precision and exists.
        weights: "float8" holds those of the UNet in 8 bits; they are computed with in ``dtype``.
        in_turn: whether its parts are on the device only while they work, one after another.
        trained: frames that it was trained on, which a single file does not say; see :func:`read_facts`.

    Raises:
        ModelError: it cannot be found or loaded, or is no SVD; weights cannot be held so.

    """
    if weights not in (None, *STORED):
        raise ModelError(f"weights cannot be held in {weights!r}; known: {', '.join(STORED)}")
    check_kind("name", name, (str, Path), "the name of a model, or a path")
    name = str(name)
    facts = read_facts(name, trained, variant)
    device = device if isinstance(device, torch.device) else choose_device(device)
    dtype = choose_dtype(str(dtype).removeprefix("torch.") if isinstance(dtype, torch.dtype) else dtype, device)
    file = single_file(name)
    with loading():
        if file:
            pipeline = load_single_file(file, facts.trained, dtype, torch.device("cpu") if in_turn else device)
        else:
            pipeline = _load_any(name, dtype, variant).to(dtype)
        _check_parts(pipeline, name)
        if weights:
            pipeline.unet.enable_layerwise_casting(getattr(torch, STORED[weights]), dtype)
        return Model(pipeline, facts, device) if in_turn else Model(pipeline.to(device), facts)


def _load_any(name: str, dtype: torch.dtype, variant: str | None) -> StableVideoDiffusionPipeline:
    """Return the pipeline of a folder or repository, from the first variant of its weights that can be loaded."""
    folder, failures = folder_of(name), []
    for candidate in [variant] if variant else _variants(folder, dtype):
        try:
            place = folder or _downloaded(name, candidate)
            if name != EMBEDDED:
                check_folder(name, place, candidate)
            return _load_pipeline(str(place), dtype, candidate)
        except ModelError as error:
            failures.append(str(error).removeprefix(f"model {name!r} cannot be loaded: "))
        except Exception as error:  # the hub's client, diffusers and transformers raise whatever they stumble over
            if is_out_of_memory(error):
                raise
            failures.append(first_line(error))
    what = f" (variant {variant})" if variant else ""
    hint = "" if folder else hub_hint(name)
    raise ModelError(f"model {name!r}{what} cannot be loaded: " + "\n".join(dict.fromkeys(failures)) + hint)


def _downloaded(name: str, variant: str | None) -> Path:
    from diffusers import StableVideoDiffusionPipeline

    return Path(StableVideoDiffusionPipeline.download(name, variant=variant, use_safetensors=True))


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
