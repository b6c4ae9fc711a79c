"""How many frames a decoder has to see around those that it decodes: tried on a small piece of the video.

How far SVD's decoder looks is up to its weights, so nothing that holds for one need hold for another.

Shape suffixes: F = frames, C = channels, Y, X = latent rows, columns.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import closing
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..budget.devices import is_out_of_memory
from ..conditioning import precise_vae
from ..engine.decode_memory import DecodePlan, parts
from ..engine.decoder import DecoderEngine
from ..engine.split import Split
from ..engine.wrapped import at_work
from ..finite import check_finite
from .decode import decode_parts

if TYPE_CHECKING:
    from ..model import Model

logger = logging.getLogger("longtake")

NEAR = 1e-3  # of the range of a picture
SIDE = 8  # latents of the piece
TRIED = (4, 8, 16)  # frames on each side


def settle_overlap(model: Model, latents_FCYX: Tensor, plan: DecodePlan) -> DecodePlan:
    """Return a plan whose overlap comes near to decoding all at once, as far as that can be had.

    An overlap that was asked for stays. Where what is decoded on a piece of the video is off by 0.001 or more, that is
    said as a warning of the logger ``longtake``, with what would be better.
    """
    work = plan.work
    tried = [work.overlap, *(each for each in TRIED if each > work.overlap)]
    found: dict[int, float] = {}
    try:
        with closing(_differences(model, latents_FCYX, plan, tried)) as differences:
            for overlap, found[overlap] in zip(tried, differences, strict=True):
                if found[overlap] < NEAR:
                    break
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    if not found:  # no memory to try it
        return plan
    best = min(found, key=found.__getitem__)
    wider = plan if best == work.overlap or work.settled else plan.with_overlap(best)
    settled = wider or plan
    off = found[settled.work.overlap]
    if off >= NEAR:
        near = f"within {NEAR:g}" if found[best] < NEAR else f"off by {found[best]:.1g}"
        better = f"; with --decode-overlap {best} it would be {near}" if found[best] < off / 2 else ""
        logger.warning(
            "decoding %d frames at a time, with %d more on each side, is off by up to %.1g from decoding all at once,"
            " on a piece of this video%s",
            *(settled.chunk, settled.work.overlap, off, better),
        )
    return settled


def _differences(model: Model, latents_FCYX: Tensor, plan: DecodePlan, overlaps: list[int]) -> Generator[float]:
    """Yield how far a piece that is decoded in parts is off from the same piece decoded at once, of a range of 1."""
    with precise_vae(model) as vae, at_work(vae):
        engine, device = DecoderEngine(vae), model.device
        piece_FCYX = _piece(latents_FCYX, 3 * plan.chunk + 2 * TRIED[-1]).to(device, vae.dtype)
        unscaled_FCYX = 1 / vae.config.scaling_factor * piece_FCYX
        # On the device there is one chunk at a time, which is planned for anyway.
        split = Split(plan.workspace, keep=False, bring_to=device)
        whole_FCHW = check_finite(engine.run(unscaled_FCYX, split), "the decoded frames contain")
        for overlap in overlaps:
            each = parts(len(piece_FCYX), plan.chunk, overlap, ring=False)
            decoded_FCHW = torch.cat(list(decode_parts(engine, unscaled_FCYX, each, split)))
            yield float((decoded_FCHW - whole_FCHW).abs().max()) / 2


def _piece(latents_FCYX: Tensor, frames: int) -> Tensor:
    """Return a piece from the middle of a video."""
    for dim, size in ((0, frames), (2, SIDE), (3, SIDE)):
        all_of_it = latents_FCYX.shape[dim]
        latents_FCYX = latents_FCYX.narrow(dim, max(0, all_of_it - size) // 2, min(size, all_of_it))
    return latents_FCYX
