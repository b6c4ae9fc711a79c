"""Calls of a UNet, with or without the engine, and what an installation could leave behind in it."""

from __future__ import annotations

import torch

from longtake import installed


def inputs(batch: int, frames: int, *, dtype: torch.dtype = torch.float32, size: tuple[int, int] = (6, 8)):
    generator = torch.Generator().manual_seed(batch * 100 + frames)
    return {
        "sample": torch.randn(batch, frames, 8, *size, generator=generator).to(dtype),
        "timestep": torch.tensor(0.3),
        "encoder_hidden_states": torch.randn(batch, 1, 16, generator=generator).to(dtype),
        "added_time_ids": torch.tensor([[6.0, 127.0, 0.02]] * batch).to(dtype),
    }


@torch.no_grad()
def call(unet, given) -> torch.Tensor:
    return unet(**given, return_dict=False)[0]


def plain(unet, given) -> torch.Tensor:
    """Return what the engine gives without any strategy."""
    with installed(unet):
        return call(unet, given)


def everything_of(unet) -> list[tuple[str, type, object, tuple[str, ...]]]:
    """Return whatever an installation could leave behind: forwards, processors and attributes of every module."""
    return [
        (name, type(module), getattr(module, "processor", None), tuple(sorted(vars(module))))
        for name, module in unet.named_modules()
    ]
