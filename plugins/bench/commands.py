"""``longtake bench``: how fast, and with how much memory, the engine does what diffusers does."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from ...core.errors import LongtakeError
from ...core.hookspecs import hookimpl
from .models import SIZES

if TYPE_CHECKING:
    from click import Group

    from .pairs import Result

LIMITS = ("limit", "decode-limit")  # take what memory there is; only where they are asked for, and on a GPU
PARTS = ("unet", "guided", "decode", "pipeline", "length", "speed")


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The results, such as bench.json.")
@click.option("--size", type=click.Choice(list(SIZES)), default="third", show_default=True, help="Of the model.")
@click.option(
    "--frames",
    type=click.IntRange(min=1),
    multiple=True,
    default=(14, 28, 56),
    show_default=True,
    help="Of the video; may be given again.",
)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Calls of each that count.")
@click.option("--part", "parts", type=click.Choice([*PARTS, *LIMITS]), multiple=True, default=PARTS, show_default=True)
@click.option("--steps", type=click.IntRange(min=1), default=2, show_default=True, help="Of the pipeline.")
@click.option("--contender", "only", multiple=True, help="Only this one, such as longtake; may be given again.")
@click.option("--cold", is_flag=True, help="Let the first call count.")
@click.option("--compile", "compiled", is_flag=True, help="Also both compiled by torch.compile.")
@click.option("--device", help="cpu, or cuda; by default the best there is.")
@click.option("--dtype", type=click.Choice(["float32", "float16", "bfloat16"]), help="Precision of the weights.")
@click.option("--cap", type=click.FloatRange(min=0, min_open=True), help="GiB of a GPU's memory that may be used.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.")
def bench(
    output: Path,
    parts: tuple[str, ...],
    frames: tuple[int, ...],
    threads: int | None,
    cap: float | None,
    **asked: Any,
) -> None:
    """Compare longtake's engine with diffusers on models of random weights, in pairs, and print the ratios.

    What an earlier run wrote to the same file stays in it, but for what is measured again.
    """
    import torch

    from ...core.cli.progress import silence_models
    from ...core.files.claims import claimed
    from ...core.files.whole import check_file, make_folder
    from ...core.model import choose_device, choose_dtype
    from .page import add_results, call_of, earlier_results
    from .run import CONTENDERS, compare_part

    silence_models()
    if threads:
        torch.set_num_threads(threads)
    device = choose_device(asked.pop("device"))
    dtype = choose_dtype(asked.pop("dtype"), device)
    if (cap or set(LIMITS) & set(parts)) and device.type != "cuda":
        raise LongtakeError(
            f"--cap and the parts {' and '.join(LIMITS)} are for a GPU of NVIDIA or AMD, not for {device}"
        )
    known = dict.fromkeys(name for part in parts for name in CONTENDERS[part])
    if unknown := [name for name in asked["only"] if name not in known]:
        raise LongtakeError(f"there is no contender {unknown[0]!r} in what is to be measured, but {', '.join(known)}")
    if cap:
        number = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.set_per_process_memory_fraction(cap * 2**30 / torch.cuda.mem_get_info(number)[1], number)
    earlier_results(output, device)  # says now, not after the work, that it does not go there
    make_folder(output.parent)
    check_file(output)
    with claimed(output):  # results of two runs at once would take each other's place
        for part in parts:
            results = compare_part(part, frames, device=device, dtype=dtype, cap=cap, **asked)
            for _, group in groupby(results, key=call_of):  # each length is kept when it is done
                add_results([_told(result) for result in group], output, device)


def _told(result: Result) -> Result:
    click.echo(f"{result.what:8} {result.frames:4} frames  {result.contender:38} {result.ratio()}")
    return result


@hookimpl
def longtake_register_commands(cli: Group) -> None:
    """Add ``longtake bench``."""
    cli.add_command(bench)
