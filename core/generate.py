"""A whole generation on one page: from an image and a config to a video."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .answers import check_tensor
from .blame import blaming
from .budget.decoding import fit_decoding
from .budget.denoising import fit_memory
from .config import Config, load_config
from .decoding.frugal import decode_frugally
from .decoding.writing import write_video
from .defaults import resolve
from .engine.split import Split
from .engine.wrapped import weights_come_and_go
from .errors import ConfigError, check_kind
from .facts import agreed, read_facts
from .files.latents import kept_if_lost
from .files.limits import check_limits
from .files.reserved import reserved
from .files.sidecar import digests, record, write_record
from .files.sound import sound_for
from .files.sources import sources_of
from .image import EXAMPLE, ImageLike, example_image
from .manager import Plugins, load_plugins, versions
from .material import encode_material, read_material
from .model import Model, load_model
from .plan import make_plan
from .rings import warn_if_open
from .run import Run, timed
from .sampler import Sampler
from .seams import installed

if TYPE_CHECKING:
    import pluggy

    from .engine.decode_memory import DecodePlan
    from .engine.memory import MemoryPlan
    from .facts import ModelFacts


@dataclass(frozen=True)
class Result:
    """What a generation gives.

    Attributes:
        frames: (F, H, W, 3) in uint8; None if they were not to be kept.
        latents: (F, C, Y, X) in float32, on the CPU, scaled by the VAE's scaling factor.
        config: with nothing left to choose; generating from it again gives the same video.
        timings: seconds by name of a part.
        output: the file or folder written, if any.
        length: frames of the video, those of one that is continued counted.

    """

    frames: np.ndarray | None
    latents: Tensor
    config: Config
    timings: dict[str, float]
    output: Path | None = None
    length: int = 0


def generate(
    image: ImageLike | Config | None = None,
    *,
    output: str | Path | None = None,
    overwrite: bool = False,
    model: str | Path | Model | None = None,
    plugins: Plugins | None = None,
    keep_frames: bool = True,
    **options: Any,
) -> Result:
    """Make a video from an image.

    Threads may share a model: one generates, the others wait.

    Args:
        image: a file, ``"example"``, a PIL image, an array (H, W, 3) in uint8; or a whole :class:`Config`.
        output: file (its ending says the format) or folder of PNGs; by default nothing is written.
        overwrite: whether an existing output is replaced.
        model: a name as in a config, a path, or a model that is loaded already.
        plugins: from :func:`load_plugins`; by default all that are installed.
        keep_frames: whether the result holds the frames.
        options: fields of :class:`Config`, such as ``frames=56, positional="yarn"``; strategies by name, as a mapping
            with options, or as objects.

    Raises:
        LongtakeError: anything that a user can mend, see :mod:`longtake.core.errors`.
        torch.OutOfMemoryError: the device has less than planned, too little even for the most frugal way.

    """
    check_kind("model", model, (str, Path, Model), "a name, a path, or what longtake.load_model or Model.of gives")
    check_kind("output", output, (str, Path), "a path")
    check_kind("plugins", plugins, Plugins, "what longtake.load_plugins gives")
    model = str(model) if isinstance(model, Path) else model
    plugins = plugins or load_plugins()
    # From the first look at the model on: what another thread does to it would count.
    with blaming(plugins), model.held() if isinstance(model, Model) else nullcontext():
        if isinstance(model, Model):
            model.check()  # its pipeline may have been changed since
        config, picture = _asked(image, model, options, plugins)
        path = Path(output) if output is not None else None
        with reserved(path, sources_of(config, plugins, picture), overwrite=overwrite, preview=config.preview):
            return _generate(config, picture, path, model, plugins, keep_frames)


def _generate(
    config: Config,
    picture: ImageLike | None,
    output: Path | None,
    model: str | Model | None,
    plugins: Plugins,
    keep_frames: bool,
) -> Result:
    sha256 = digests(config) if output else {}  # of what is read now
    material = read_material(picture, config)
    if isinstance(model, Model):
        facts = agreed(model.facts, config.trained)
    else:
        facts = read_facts(config.model, config.trained, config.variant)
    config = resolve(config, facts, plugins.registry, portrait=material.portrait)
    sound = None
    if output:
        check_limits(output, config)
        sound = sound_for(output, Path(config.continues), config.output_fps or config.fps) if config.continues else None
    plan = make_plan(config, facts)
    warn_if_open(config, plan)
    memory, decoding = _fitted(config, facts, model)
    config = config.model_copy(update={"decode_chunk": decoding.chunk})
    assert config.seed is not None and config.sampling
    timings: dict[str, float] = {}
    with timed(timings, "load"):
        loaded = model if isinstance(model, Model) else load_for(config, facts)
    generator = torch.Generator().manual_seed(config.seed)  # on the CPU: the same noise on every device
    shared = config.sampling.shared(plan.span)
    material = material.fitted(config, shared)
    with timed(timings, "encode"):
        conditioning, before_BFCYX = encode_material(loaded, material, config, shared, generator)
    run = Run(
        *(config, loaded, plan, material.start, conditioning, output, timings),
        before_BFCYX=before_BFCYX,
        sha256=sha256,
    )
    plugins.manager.hook.longtake_run_started(run=run)
    latents_BFCYX = _denoise(run, memory, plugins.manager.hook, generator)
    frames = _decode(run, decoding, plugins, latents_BFCYX[0], keep_frames, material.earlier_FHW3, sound)
    length = run.new + len(material.earlier_FHW3 if material.earlier_FHW3 is not None else ())
    if output:
        write_record(output, record(run, versions(plugins)))
    plugins.manager.hook.longtake_run_finished(run=run)
    return Result(frames, latents_BFCYX[0].cpu(), config, run.timings, output, length)


def load_for(config: Config, facts: ModelFacts) -> Model:
    """Load the model of a resolved config; its parts are on the device one after another."""
    return load_model(
        config.model,
        dtype=config.dtype,
        device=config.device,
        variant=config.variant,
        weights=config.weights,
        trained=facts.trained,
        in_turn=True,
    )


def _fitted(config: Config, facts: ModelFacts, model: str | Model | None) -> tuple[MemoryPlan, DecodePlan]:
    """Return how denoising and decoding are split to fit in memory."""
    here = False
    if isinstance(model, Model):
        here = model.stays
        if weights_come_and_go(model.pipeline.unet):
            facts = facts.without_weights()
    return fit_memory(config, facts, weights_loaded=here), fit_decoding(config, facts, weights_loaded=here)


def _asked(
    image: ImageLike | Config | None, model: str | Model | None, options: dict[str, Any], plugins: Plugins
) -> tuple[Config, ImageLike | None]:
    """Return the config asked for, and the image, which need not be a file; None where a video is continued."""
    options = {name: _plain(value) for name, value in options.items()}
    if isinstance(model, str):
        options = {**options, "model": model}
    elif model is not None:
        loaded = {
            "device": str(model.device),
            "dtype": str(model.dtype).removeprefix("torch."),
            "weights": model.weights,
        }
        for name, value in loaded.items():
            if options.get(name, value) != value:
                raise ConfigError(f"{name}={options[name]!r} was asked for, but the model given is in {value!r}")
        options = options | loaded | {"model": model.facts.name}
    data = {name: getattr(image, name) for name in Config.model_fields} if isinstance(image, Config) else {}
    if isinstance(image, str | Path):
        shipped = str(image) == EXAMPLE and not Path(image).exists()
        data["image"] = str(example_image() if shipped else image)
    config = load_config(data | options, plugins.registry)
    picture = config.image if image is None or isinstance(image, Config) else image
    if picture is None and config.continues is None:
        raise ConfigError("no start image is given; name a file, or 'example' for the one that ships with longtake")
    return config, picture


def _plain(value: Any) -> Any:
    """Return torch's dtypes and devices by the names that a config has for them."""
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    return str(value) if isinstance(value, torch.device) else value


def _denoise(run: Run, memory: MemoryPlan, hooks: pluggy.HookRelay, generator: torch.Generator) -> Tensor:
    config, plan = run.config, run.plan
    assert config.noise and config.width and config.height and config.sampling
    facts = run.model.facts
    rows, columns = config.height // facts.vae_factor, config.width // facts.vae_factor
    shape_BFCYX = (1, plan.frames, facts.latent_channels, rows, columns)
    noise_BFCYX = config.noise.noise(shape_BFCYX, plan.noise_sources_F, generator)
    noise_BFCYX = check_tensor(config.noise, "noise", noise_BFCYX, shape_BFCYX).to(run.model.device)
    with (
        timed(run.timings, "denoise"),
        run.model.at_hand("unet") as unet,
        installed(
            unet,
            config.positional,
            config.attention,
            trained=facts.trained,
            split=Split(compiled=config.compile),
        ) as seams,
    ):
        run.engine = seams.engine
        latents_BFCYX = config.sampling.sample(Sampler(run, unet, seams, memory, hooks, generator), noise_BFCYX)
    run.engine = None  # with what it keeps of deep features, which the decoder has better use for
    return check_tensor(config.sampling, "latents", latents_BFCYX, shape_BFCYX, noise_BFCYX)


def _decode(
    run: Run,
    decoding: DecodePlan,
    plugins: Plugins,
    latents_FCYX: Tensor,
    keep: bool,
    earlier: np.ndarray | None,
    sound: Path | None,
) -> np.ndarray | None:
    """Decode in chunks, each of which goes to the file and to whoever watches as soon as it is there."""
    shared = run.plan.frames - run.new

    def watch(frames: np.ndarray, first: int) -> None:
        plugins.manager.hook.longtake_frames_decoded(run=run, frames=frames, first=first)

    def describe() -> dict[str, Any]:
        return record(run, versions(plugins)) | {"shared": shared}

    chunks = decode_frugally(run.model, latents_FCYX, decoding)
    with timed(run.timings, "decode"), kept_if_lost(latents_FCYX, run.output, describe):
        return write_video(chunks, run.output, run.config, shared, earlier, watch, keep=keep, sound=sound)
