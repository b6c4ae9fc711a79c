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

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import LongtakeError, OutputError
from .whole import whole_file

logger = logging.getLogger("longtake")

ENDING = ".latents.safetensors"
KEY = "longtake"  # of the metadata


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
    try:
        with safe_open(path, "pt") as file:
            latents_FCYX, data = file.get_tensor("latents"), json.loads((file.metadata() or {})[KEY])
            if latents_FCYX.ndim != 4 or not isinstance(data["config"], dict) or not isinstance(data["shared"], int):
                raise ValueError
    except FileNotFoundError:
        raise LongtakeError(f"latents {path} do not exist") from None
    except (OSError, SafetensorError, KeyError, ValueError, TypeError):
        raise LongtakeError(f"{path} holds no latents that longtake kept") from None
    return latents_FCYX, data
