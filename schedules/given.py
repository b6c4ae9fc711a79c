"""Noise of a file: to start from what somebody else started from.

Shape suffixes: B = batch, F = frames, C = latent channels, Y, X = latent rows, columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ..core.contracts import NoiseSchedule, Span
from ..core.errors import ConfigError, headline

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
        """Return the frames' own numbers, (F,), once it is known that the file is there.

        Raises:
            ConfigError: it is not, or is none of these.

        """
        if self.path.suffix not in ENDINGS:
            raise ConfigError(f"noise file {self.path} must end in one of {', '.join(ENDINGS)}")
        if not self.path.is_file():
            raise ConfigError(f"noise file {self.path} does not exist")
        return super().sources(span, generator)

    def noise(self, shape_BFCYX: Sequence[int], sources_F: Tensor, generator: torch.Generator) -> Tensor:
        """Return the file's noise, (B, F, C, Y, X) in float32, the same for each video of a batch.

        Raises:
            ConfigError: the file cannot be read, or does not hold what is needed.

        """
        held = _read(self.path)
        frames_FCYX = held[0] if held.ndim == 5 and len(held) == 1 else held
        if held.is_complex():
            raise ConfigError(f"noise file {self.path} must hold real numbers, got complex ones")
        batch, frames, *rest = shape_BFCYX
        if frames_FCYX.ndim != 4 or list(frames_FCYX.shape[1:]) != rest or len(frames_FCYX) < self.first + frames:
            raise ConfigError(
                f"noise file {self.path} must hold {self.first + frames} frames of {tuple(rest)} or more, got "
                f"{tuple(held.shape)}"
            )
        chosen_FCYX = frames_FCYX[self.first : self.first + frames].float()
        if not bool(torch.isfinite(chosen_FCYX).all()):
            raise ConfigError(f"noise file {self.path} holds numbers that are not finite")
        return chosen_FCYX.expand(batch, *chosen_FCYX.shape).clone()


def _read(path: Path) -> Tensor:
    try:
        if path.suffix == ".npy":
            return torch.from_numpy(np.load(path))
        if path.suffix == ".pt":
            held = torch.load(path, map_location="cpu", weights_only=True)
        else:
            from safetensors.torch import load_file

            held = load_file(path)
    except Exception as error:  # three libraries, each with errors of its own
        raise ConfigError(f"noise file {path} cannot be read: {headline(error)}") from None
    tensors = list(held.values()) if isinstance(held, dict) else [held]
    if len(tensors) != 1 or not isinstance(tensors[0], Tensor):
        raise ConfigError(f"noise file {path} must hold one tensor, got {len(tensors)} things")
    return tensors[0]
