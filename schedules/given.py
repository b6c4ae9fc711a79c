"""Noise of a file: to start from what somebody else started from.

Shape suffixes: B = batch, F = frames, C = latent channels, Y, X = latent rows, columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ..core.arrays import map_array
from ..core.contracts import NoiseSchedule, Span
from ..core.errors import ConfigError, first_line
from ..core.readable import fault_of

ENDINGS = (".npy", ".pt", ".safetensors")


class File(NoiseSchedule):
    """Noise as it lies in a file, of unit variance; a file of more frames is used from ``first`` on."""

    name = "file"
    path: Path = Field(
        examples=["noise.npy"],
        description="A .npy, .pt or .safetensors file that holds one tensor, (F, C, Y, X) or (1, F, C, Y, X).",
    )
    first: int = Field(default=0, ge=0, description="Frame of the file that the video begins with.")

    def sources(self, span: Span, generator: torch.Generator) -> Tensor:
        """Return the frames' own numbers, (F,), once it is known that the file holds noise for all of them.

        Raises:
            ConfigError: the file cannot be read, or does not hold what is needed.

        """
        held_FCYX, frames = _read(self.path), self.first + span.frames
        if len(held_FCYX) < frames:
            raise ConfigError(f"noise file {self.path} must hold {frames} frames or more, got {len(held_FCYX)}")
        return super().sources(span, generator)

    def noise(self, shape_BFCYX: Sequence[int], sources_F: Tensor, generator: torch.Generator) -> Tensor:
        """Return the file's noise, (B, F, C, Y, X) in float32, the same for each video of a batch.

        Raises:
            ConfigError: the file cannot be read, or does not hold what is needed.

        """
        held_FCYX = _read(self.path)
        batch, frames, *rest = shape_BFCYX
        if list(held_FCYX.shape[1:]) != rest or len(held_FCYX) < self.first + frames:
            raise ConfigError(
                f"noise file {self.path} must hold {self.first + frames} frames of {tuple(rest)} or more, got "
                f"{tuple(held_FCYX.shape)}"
            )
        chosen_FCYX = held_FCYX[self.first : self.first + frames].float()
        return chosen_FCYX.expand(batch, *chosen_FCYX.shape).clone()


def _read(path: Path) -> Tensor:
    """Return the noise of a file, (F, C, Y, X), of finite real numbers."""
    if path.suffix not in ENDINGS:
        raise ConfigError(f"noise file {path} must end in one of {', '.join(ENDINGS)}")
    if fault := fault_of(path):
        raise ConfigError(f"noise file {path} {fault}")
    held = _tensor_of(path)
    frames_FCYX = held[0] if held.ndim == 5 and len(held) == 1 else held
    if frames_FCYX.ndim != 4:
        raise ConfigError(f"noise file {path} must hold (F, C, Y, X) or (1, F, C, Y, X), got {tuple(held.shape)}")
    if held.is_complex():
        raise ConfigError(f"noise file {path} must hold real numbers, got complex ones")
    if not bool(torch.isfinite(frames_FCYX.float()).all()):
        raise ConfigError(f"noise file {path} holds numbers that are not finite")
    return frames_FCYX


def _tensor_of(path: Path) -> Tensor:
    held = _array_of(path) if path.suffix == ".npy" else _loaded(path)
    tensors = list(held.values()) if isinstance(held, dict) else [held]
    if len(tensors) != 1 or not isinstance(tensors[0], Tensor):
        raise ConfigError(f"noise file {path} must hold one tensor, got {len(tensors)} things")
    if tensors[0].layout != torch.strided or tensors[0].is_quantized or tensors[0].is_meta:
        raise ConfigError(f"noise file {path} must hold a dense tensor, with its numbers")
    return tensors[0]


def _array_of(path: Path) -> Tensor:
    try:
        array = map_array(path, "the noise")
    except ValueError as error:
        raise ConfigError(f"noise file {path} {error}") from None
    if array.dtype.kind not in "fciu":
        raise ConfigError(f"noise file {path} must hold real numbers, got {array.dtype}")
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("=")))


def _loaded(path: Path) -> Any:
    from safetensors.torch import load_file

    try:
        return load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # two libraries, each with errors of its own
        raise ConfigError(f"noise file {path} cannot be read: {first_line(error)}") from None
