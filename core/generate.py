"""A whole generation on one page: from an image and a config to a video."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .budget import FrugalDenoiser, fit_memory
from .conditioning import encode_images
from .config import Config, load_config
from .decode import decode
from .defaults import resolve
from .denoiser import UnetDenoiser
from .engine.split import Split
from .errors import ConfigError
from .facts import read_facts
from .image import EXAMPLE, ImageLike, example_image, fit_image, read_image
from .loop import denoise
from .manager import Plugins, load_plugins, versions
from .model import Model, load_model
from .plan import make_plan
from .run import Run, timed
from .seams import installed
from .sidecar import record, write_record
from .video import check_output, open_video

if TYPE_CHECKING:
    import pluggy

    from .engine.memory import MemoryPlan


@dataclass(frozen=True)
class Result:
    """What a generation gives.

    Attributes:
        frames: (F, H, W, 3) in uint8; None if they were not to be kept.
        latents: (F, C, Y, X) in float32, on the CPU, scaled by the VAE's scaling factor.
        config: with nothing left to choose; generating from it again gives the same video.
        timings: seconds by name of a part.
        output: the file or folder written, if any.

    """

    frames: np.ndarray | None
    latents: Tensor
    config: Config
    timings: dict[str, float]
    output: Path | None = None


def generate(
    image: ImageLike | Config | None = None,
    *,
    output: str | Path | None = None,
    overwrite: bool = False,
    model: str | Model | None = None,
    plugins: Plugins | None = None,
    keep_frames: bool = True,
    **options: Any,
) -> Result:
    """Make a video from an image.

    Args:
        image: a file, ``"example"``, a PIL image, an array (H, W, 3) in uint8; or a whole :class:`Config`.
        output: file (its ending says the format) or folder of PNGs; by default nothing is written.
        overwrite: whether an existing output is replaced.
        model: a name as in a config, or a model that is loaded already.
        plugins: from :func:`load_plugins`; by default all that are installed.
        keep_frames: whether the result holds the frames.
        options: fields of :class:`Config`, such as ``frames=56, positional="yarn"``; strategies by name, as a mapping
            with options, or as objects.

    Raises:
        LongtakeError: anything that a user can mend, see :mod:`longtake.core.errors`.

    """
    plugins = plugins or load_plugins()
    config, picture = _asked(image, model, options, plugins)
    output = Path(output) if output is not None else None
    if output:
        check_output(output, overwrite=overwrite)
    start_image = read_image(picture)
    facts = model.facts if isinstance(model, Model) else read_facts(config.model)
    config = resolve(config, facts, plugins.registry, portrait=start_image.height > start_image.width)
    assert config.width and config.height and config.seed is not None
    plan = make_plan(config, facts)
    memory = fit_memory(config, facts, weights_loaded=isinstance(model, Model))
    timings: dict[str, float] = {}
    with timed(timings, "load"):
        loaded = (
            model
            if isinstance(model, Model)
            else load_model(
                config.model,
                dtype=config.dtype,
                device=config.device,
                variant=config.variant,
                weights=config.weights,
                in_turn=True,  # what is not at work leaves its room to what is
            )
        )
    generator = torch.Generator().manual_seed(config.seed)  # on the CPU: the same noise on every device
    fitted = fit_image(start_image, config.width, config.height, config.fit)
    with timed(timings, "encode"):
        conditioning = encode_images(loaded, [fitted], config.noise_aug, generator)
    run = Run(config, loaded, plan, fitted, conditioning, output, timings)
    plugins.manager.hook.longtake_run_started(run=run)
    latents_BFCYX = _denoise(run, memory, plugins.manager.hook, generator)
    frames = _decode(run, plugins.manager.hook, latents_BFCYX[0], keep_frames)
    if output:
        write_record(output, record(run, versions(plugins)))
    plugins.manager.hook.longtake_run_finished(run=run)
    return Result(frames, latents_BFCYX[0].cpu(), config, run.timings, output)


def _asked(
    image: ImageLike | Config | None, model: str | Model | None, options: dict[str, Any], plugins: Plugins
) -> tuple[Config, ImageLike]:
    """Return the config asked for, and the image, which need not be a file."""
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
    if picture is None:
        raise ConfigError("no start image is given; name a file, or 'example' for the one that ships with longtake")
    return config, picture


def _plain(value: Any) -> Any:
    """Return torch's dtypes and devices by the names that a config has for them."""
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    return str(value) if isinstance(value, torch.device) else value


def _denoise(run: Run, memory: MemoryPlan, hooks: pluggy.HookRelay, generator: torch.Generator) -> Tensor:
    config, plan = run.config, run.plan
    assert config.noise and config.width and config.height
    facts = run.model.facts
    rows, columns = config.height // facts.vae_factor, config.width // facts.vae_factor
    shape_BFCYX = (1, plan.frames, facts.latent_channels, rows, columns)
    noise_BFCYX = config.noise.noise(shape_BFCYX, plan.noise_sources_F, generator).to(run.model.device)
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
        stock = UnetDenoiser(unet, run.conditioning, plan, seams)
        run.engine = seams.engine
        denoiser = FrugalDenoiser(stock, seams.engine, memory, run.model.device)
        return denoise(denoiser, noise_BFCYX, plan.sigmas_S1, plan.guidance_SF, hooks=hooks, run=run)


def _decode(run: Run, hooks: pluggy.HookRelay, latents_FCYX: Tensor, keep: bool) -> np.ndarray | None:
    """Decode in chunks, each of which goes to the file and to whoever watches as soon as it is there."""
    config, kept, first = run.config, [], 0
    assert config.decode_chunk
    chunks = decode(run.model, latents_FCYX, chunk=config.decode_chunk, overlap=config.decode_overlap)
    file = (
        open_video(run.output, fps=config.output_fps or config.fps, frames=run.plan.frames, enlarge=config.enlarge)
        if run.output
        else nullcontext()
    )
    with timed(run.timings, "decode"), file as writer:
        for chunk in chunks:
            if writer:
                for frame in chunk:
                    writer.write(frame)
            hooks.longtake_frames_decoded(run=run, frames=chunk, first=first)
            first += len(chunk)
            if keep:
                kept.append(chunk)
    return np.concatenate(kept) if keep else None
