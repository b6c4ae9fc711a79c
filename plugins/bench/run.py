"""One part of the bench, length by length: which model, what it is given, who is compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..proving.machine import commit
from .contenders import DECODE, GUIDED, LENGTH, PIPELINE, SPEED, UNET, UNET_LIMIT
from .limit import find_limits
from .models import SIZES, Size, random_pipeline, random_unet, random_vae
from .pairs import Result, compare

SLOW = ("diffusers, compiled", "longtake, compiled")  # takes minutes before its first call; only where it is asked for
CONTENDERS: dict[str, dict[str, Any]] = {
    "unet": UNET,
    "guided": GUIDED,
    "length": LENGTH,
    "limit": UNET_LIMIT,
    "decode-limit": DECODE,
    "decode": DECODE,
    "pipeline": PIPELINE,
    "speed": SPEED,
}
MAKE: dict[str, Any] = {
    "unet": random_unet,
    "guided": random_unet,
    "length": random_unet,
    "limit": random_unet,
    "decode-limit": random_vae,
    "decode": random_vae,
    "pipeline": random_pipeline,
    "speed": random_pipeline,
}


def compare_part(
    part: str,
    lengths: Sequence[int],
    *,
    size: str,
    rounds: int,
    steps: int,
    compiled: bool,
    only: Sequence[str] = (),
    cold: bool = False,
    cap: float | None = None,
    device: torch.device,
    dtype: torch.dtype,
) -> Iterator[Result]:
    """Yield the results of one part.

    Args:
        part: "unet" and "length" are one call of the UNet, "guided" both branches of a guided step, "limit" how many
            frames of one call fit, "decode" the decoding of all frames, "decode-limit" how many can be decoded,
            "pipeline" a whole generation with guidance, "speed" the same by longtake alone at its speeds.
        lengths: frames; of limits the longest is the most that is tried.
        size: of the model, see :data:`SIZES`.
        rounds: calls of each contender that count.
        steps: of the pipeline.
        compiled: whether diffusers is also compared when compiled.
        only: contenders that are compared; by default all.
        cold: whether the first call counts.
        cap: GiB of the device's memory that may be used, as it was set; for the record.
        device: where.
        dtype: of the weights.

    """
    made_by = commit()
    torch.manual_seed(0)
    model = MAKE[part](SIZES[size], device, dtype)
    ways = {name: setup for name, setup in CONTENDERS[part].items() if compiled or name not in SLOW}
    ways = {name: setup for name, setup in ways.items() if not only or name in only}

    def set_up(setup: Any, frames: int) -> Any:
        return setup(model, given(part, SIZES[size], frames, steps, device, dtype))

    def results() -> Iterator[Result]:
        if "limit" in part:
            yield from find_limits(
                part, {name: partial(set_up, setup) for name, setup in ways.items()}, max(lengths), device
            )
            return
        for frames in lengths:
            asked = given(part, SIZES[size], frames, steps, device, dtype)
            setups = {name: partial(setup, model, asked) for name, setup in ways.items()}
            yield from compare(part, frames, setups, rounds, device, cold=cold, unet=getattr(model, "unet", None))

    told: dict[str, Any] = {"size": size, "dtype": str(dtype).removeprefix("torch."), "commit": made_by, "cap": cap}
    told["steps"] = steps if part == "pipeline" else None  # the speeds have their own
    for result in results():
        yield replace(result, **told)


def given(part: str, size: Size, frames: int, steps: int, device: torch.device, dtype: torch.dtype) -> Any:
    """Return what the contenders of a part are given."""
    if part in ("pipeline", "speed"):
        factor = 2 ** (len(size.vae) - 1)
        pixels = np.random.default_rng(0).integers(0, 256, (size.rows * factor, size.columns * factor, 3), np.uint8)
        return {"image": Image.fromarray(pixels), "frames": frames, "steps": steps}
    latents = torch.randn(frames, 4, size.rows, size.columns, device=device, dtype=dtype)
    if part in ("decode", "decode-limit"):
        return latents
    told = torch.tensor([[6.0, 127.0, 0.02]], device=device, dtype=dtype)
    token = torch.randn(1, 1, size.context, device=device, dtype=dtype)
    sample, branches = torch.cat([latents, latents], dim=1)[None], 2 if part == "guided" else 1
    alike = [each.repeat(branches, *[1] * (each.ndim - 1)) for each in (sample, token, told)]
    return alike[0], torch.tensor(0.3, device=device), *alike[1:]
