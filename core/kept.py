"""A video from latents that were kept because it could not be written at first.

Shape suffixes: F = frames, C = latent channels, Y, X = latent rows, columns.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from .blame import blaming
from .budget.decoding import fit_decoding
from .config import Config, load_config
from .decoding.frugal import decode_frugally
from .decoding.writing import write_video
from .errors import LongtakeError
from .facts import agreed, read_facts
from .files.latents import read_latents
from .files.limits import check_limits
from .files.reserved import reserved
from .files.sidecar import command, write_record
from .files.sound import sound_for
from .files.sources import Named, sources_of
from .footage import read_video
from .generate import Result, load_for
from .manager import Plugins, load_plugins, versions
from .material import Material
from .model import Model, choose_device
from .run import timed

if TYPE_CHECKING:
    from torch import Tensor

    from .facts import ModelFacts


def decode_kept(
    path: str | Path,
    *,
    output: str | Path,
    overwrite: bool = False,
    model: Model | None = None,
    plugins: Plugins | None = None,
    keep_frames: bool = True,
) -> Result:
    """Write the video of latents that a generation kept, with the same frames as if nothing had happened.

    Args:
        path: of the file of latents.
        output: file (its ending says the format) or folder of PNGs.
        overwrite: whether an existing output is replaced.
        model: loaded already; by default the one that made the latents is loaded.
        plugins: from :func:`load_plugins`; by default all that are installed.
        keep_frames: whether the result holds the frames.

    Raises:
        LongtakeError: the file holds no such latents, or anything else that a user can mend.

    """
    path, output, plugins = Path(path), Path(output), plugins or load_plugins()
    with blaming(plugins):
        latents_FCYX, record = read_latents(path)
        config, shared = load_config(record["config"], plugins.registry), record["shared"]
        read = [Named("the file of latents", path), *sources_of(config, plugins)]
        with reserved(output, read, overwrite=overwrite):
            check_limits(output, config)
            choose_device(config.device)
            facts = agreed(model.facts, config.trained) if model else read_facts(config.model, config.trained)
            _check_shape(path, latents_FCYX, config, facts)
            earlier, sound = read_video(Path(config.continues)) if config.continues else None, None
            if earlier is not None:
                sound = sound_for(output, Path(config.continues or ""), config.output_fps or config.fps)
                earlier = Material(Image.fromarray(earlier[0]), earlier_FHW3=earlier).fitted(config, 0).earlier_FHW3
            decoding = fit_decoding(config, facts, weights_loaded=model is not None and model.stays)
            timings: dict[str, float] = dict(record["seconds"])
            with timed(timings, "load"):
                loaded = model or load_for(config, facts)
            with timed(timings, "decode"):
                chunks = decode_frugally(loaded, latents_FCYX, decoding)
                frames = write_video(
                    *(chunks, output, config, shared, earlier, lambda frames, first: None),
                    keep=keep_frames,
                    sound=sound,
                )
            del record["shared"]
            seconds = {part: round(each, 3) for part, each in timings.items()}
            again = command(config, output, versions(plugins))
            write_record(output, record | {"command": again, "seconds": seconds})
    length = len(latents_FCYX) - shared + (len(earlier) if earlier is not None else 0)
    return Result(frames, latents_FCYX, config, timings, output, length)


def _check_shape(path: Path, latents_FCYX: Tensor, config: Config, facts: ModelFacts) -> None:
    assert config.frames and config.height and config.width
    rows, columns = config.height // facts.vae_factor, config.width // facts.vae_factor
    wanted = (config.frames, facts.latent_channels, rows, columns)
    if tuple(latents_FCYX.shape) != wanted:
        raise LongtakeError(
            f"{path} holds latents of {tuple(latents_FCYX.shape)}; its config and model {facts.name!r} need {wanted}"
        )
