"""``longtake bench``: how fast, and with how much memory, the engine does what diffusers does."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from ...core.hookspecs import hookimpl
from ...core.whole import whole_file
from .models import SIZES

if TYPE_CHECKING:
    from click import Group

    from .pairs import Result

SLOW = ("diffusers, compiled",)  # takes minutes before its first call; only where it is asked for


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The results, such as bench.json.")
@click.option("--size", type=click.Choice(list(SIZES)), default="third", show_default=True, help="Of the model.")
@click.option("--frames", type=click.IntRange(min=1), multiple=True, default=(14, 28, 56), show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Calls of each that count.")
@click.option("--part", "parts", type=click.Choice(["unet", "decode"]), multiple=True, default=("unet", "decode"))
@click.option("--compile", "compiled", is_flag=True, help="Also diffusers compiled by torch.compile.")
@click.option("--device", help="cpu, or cuda; by default the best there is.")
@click.option("--dtype", type=click.Choice(["float32", "float16", "bfloat16"]), help="Precision of the weights.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.")
def bench(output: Path, parts: tuple[str, ...], frames: tuple[int, ...], threads: int | None, **asked: Any) -> None:
    """Compare longtake's engine with diffusers on models of random weights, in pairs, and print the ratios."""
    import torch

    from ...core.model import choose_device, choose_dtype
    from ...core.progress import silence_models

    silence_models()
    if threads:
        torch.set_num_threads(threads)
    device = choose_device(asked["device"])
    dtype = choose_dtype(asked["dtype"], device)
    results: list[Result] = []
    for part in parts:
        for result in _run(part, asked["size"], frames, asked["rounds"], asked["compiled"], device, dtype):
            results.append(result)
            click.echo(f"{result.what} {result.frames:4} frames  {result.contender:38} {result.ratio()}")
    _write(results, {"size": asked["size"], "dtype": str(dtype), "threads": torch.get_num_threads()}, device, output)


def _run(part: str, name: str, lengths: Any, rounds: int, compiled: bool, device: Any, dtype: Any) -> Any:
    """Yield the results of one part, length by length."""
    import torch

    from .contenders import DECODE, UNET
    from .models import random_unet, random_vae
    from .pairs import compare

    size = SIZES[name]
    torch.manual_seed(0)
    model: Any = random_unet(size, device, dtype) if part == "unet" else random_vae(size, device, dtype)
    for frames in lengths:
        latents = torch.randn(frames, 4, size.rows, size.columns, device=device, dtype=dtype)
        given: Any = latents
        if part == "unet":
            told = torch.tensor([[6.0, 127.0, 0.02]], device=device, dtype=dtype)
            token = torch.randn(1, 1, size.context, device=device, dtype=dtype)
            given = (torch.cat([latents, latents], dim=1)[None], torch.tensor(0.3, device=device), token, told)
        chosen = {
            contender: partial(setup, model, given)
            for contender, setup in (UNET if part == "unet" else DECODE).items()
            if compiled or contender not in SLOW
        }
        yield from compare(part, frames, chosen, rounds, device)


def _write(results: list[Result], about: dict[str, Any], device: Any, output: Path) -> None:
    from ..proving.machine import commit, libraries, machine

    here = {"commit": commit(), "machine": machine(str(device)), "libraries": libraries()}
    with whole_file(output) as part:
        part.write_text(
            json.dumps({"about": here | about, "results": [asdict(result) for result in results]}, indent=1),
            encoding="utf-8",
        )


@hookimpl
def longtake_register_commands(cli: Group) -> None:
    """Add ``longtake bench``."""
    cli.add_command(bench)
