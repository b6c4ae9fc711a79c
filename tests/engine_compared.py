"""Calls of a UNet by diffusers and by the engine, and how far they are apart."""

from __future__ import annotations

import torch

from longtake import installed
from longtake.core.engine.split import Split

WHOLE = Split()
SOME = 40_000  # bytes of workspace that give chunks of several frames and pixels, which do not divide them


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def inputs(batch: int, frames: int, size: tuple[int, int], dtype: torch.dtype = torch.float64):
    return (
        random(batch, frames, 8, *size).to(dtype),
        torch.tensor(0.3),
        random(batch, 1, 16, seed=1).to(dtype),
        torch.tensor([[6.0, 127.0, 0.02], [9.0, 30.0, 0.1]][:batch], dtype=dtype),
    )


@torch.no_grad()
def call(unet, given_) -> torch.Tensor:
    return unet(*given_, return_dict=False)[0]


def away(unet, given_, split: Split = WHOLE) -> float:
    """Return the greatest difference between the engine and diffusers."""
    stock = call(unet, given_)
    with installed(unet, split=split):
        return float((call(unet, given_) - stock).abs().max())


def blocks_of(unet, name: str) -> list:
    return [module for module in unet.modules() if type(module).__name__ == name]
