"""Latents of a video that could not be written: kept in a file, from which ``longtake decode`` makes the video.

Shape suffixes: F = frames, C = latent channels, Y, X = latent rows, columns.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..config import STRATEGY_KINDS
from ..documents import read_json
from ..errors import LongtakeError, OutputError, headline
from ..readable import fault_of
from .whole import whole_file

logger = logging.getLogger("longtake")

ENDING = ".latents.safetensors"
KEY = "longtake"  # of the metadata
# What the config of a run always has: a record without it was not made by a run.
RESOLVED = ("frames", "width", "height", "seed", "steps", "motion_bucket", "dtype", "device", *STRATEGY_KINDS)


@contextmanager
def kept_if_lost(latents_FCYX: Tensor, output: Path | None, describe: Callable[[], dict[str, Any]]) -> Iterator[None]:
    """Keep latents in a file if the block that writes the video fails, and say how to go on from there.

    Args:
        latents_FCYX: of the video.
        output: that could not be written; without one nothing is kept.
        describe: returns the record of the run.

    Raises:
        OutputError: that of the block, with the command that decodes the latents.

    """
    try:
        yield
    except Exception as error:
        path = _keep(latents_FCYX, output, describe()) if output else None
        if path is None:
            raise
        how = (
            f"the latents are kept in {path}; to make the video from them: "
            f"{shlex.join(['longtake', 'decode', str(path), '-o', str(output)])}"
        )
        if isinstance(error, OutputError):
            raise OutputError(f"{error}\n{how}") from error
        logger.warning("%s", how)
        raise


def _keep(latents_FCYX: Tensor, output: Path, data: dict[str, Any]) -> Path | None:
    """Write latents beside the output, else to the folder for temporary files; return where, or None."""
    from safetensors.torch import save_file

    tensors, metadata = {"latents": latents_FCYX.float().cpu().contiguous()}, {KEY: json.dumps(data)}
    for folder, name in ((output.parent, output.name), (Path(tempfile.gettempdir()), f"{output.name}-{os.getpid()}")):
        with suppress(OutputError, SafetensorError):
            path = _unused(folder / (name[:150] + ENDING))
            with whole_file(path) as part:
                save_file(tensors, part, metadata)
            return path
    return None


def _unused(path: Path) -> Path:
    number, free = 2, path
    while free.exists():
        free = path.with_name(f"{path.name.removesuffix(ENDING)}-{number}{ENDING}")
        number += 1
    return free


def read_latents(path: Path) -> tuple[Tensor, dict[str, Any]]:
    """Return kept latents, (F, C, Y, X) in float32, and the record of their run.

    Raises:
        LongtakeError: the file is not there, cannot be read, or holds something else.

    """
    if fault := fault_of(path):
        raise LongtakeError(f"file of latents {path} {fault}")
    try:
        with safe_open(path, "pt") as file:
            latents_FCYX, data = file.get_tensor("latents"), read_json((file.metadata() or {})[KEY])
        fault = _fault_of_latents(latents_FCYX) or _fault_of_record(data, len(latents_FCYX))
    except (SafetensorError, KeyError):
        fault = "it has no latents, or no record"
    except (OSError, ValueError) as error:
        fault = headline(error)
    if fault:
        raise LongtakeError(f"{path} holds no latents that longtake kept: {fault}")
    return latents_FCYX, data


def _fault_of_latents(latents_FCYX: Tensor) -> str | None:
    if latents_FCYX.dtype != torch.float32 or latents_FCYX.ndim != 4 or not latents_FCYX.numel():
        shape, dtype = tuple(latents_FCYX.shape), str(latents_FCYX.dtype).removeprefix("torch.")
        return f"they must be (F, C, Y, X) in float32, got {shape} in {dtype}"
    return None if torch.isfinite(latents_FCYX).all() else "some of its numbers are not finite"


def _fault_of_record(data: Any, frames: int) -> str | None:
    kinds = {"config": dict, "shared": int, "seconds": dict}
    wrong = [key for key, kind in kinds.items() if not (isinstance(data, dict) and type(data.get(key)) is kind)]
    if wrong:
        return f"its record has no {wrong[0]}, or one that means nothing"
    unsaid = [key for key in RESOLVED if data["config"].get(key) is None]
    if unsaid:
        return f"the config in its record has no {unsaid[0]}"
    if not all(type(seconds) in (int, float) for seconds in data["seconds"].values()):
        return "the seconds in its record are not numbers"
    if not 0 <= data["shared"] < frames:
        return f"its record says that {data['shared']} frames belong to an earlier video, and {frames} are there"
    return None
