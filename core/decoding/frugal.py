"""Decoding by a plan, with less where a device has less than was planned.

Shape suffixes: F = frames, C = channels, Y, X = latent rows, columns, H, W = pixel rows, columns.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..budget.decoding import describe_decoding
from ..budget.devices import is_out_of_memory
from ..engine.decode_memory import DecodePlan
from .decode import decode
from .overlap import settle_overlap

if TYPE_CHECKING:
    from ..model import Model

logger = logging.getLogger("longtake")


def decode_frugally(model: Model, latents_FCYX: Tensor, plan: DecodePlan) -> Iterator[np.ndarray]:
    """Yield what :func:`decode` does by a plan; where the device runs out of memory, go on with half of what it takes.

    Raises:
        OutOfMemoryError: there is too little for the smallest chunks.

    """
    done, settled = 0, False  # frames that have been yielded; whether the overlap has been looked at
    while True:
        passed = 0
        try:
            if not plan.all_at_once and not settled:
                plan, settled = settle_overlap(model, latents_FCYX, plan), True
            for pictures_FHWC in decode(
                model,
                latents_FCYX,
                chunk=plan.chunk,
                overlap=plan.work.overlap,
                ring=plan.work.ring,
                split=plan.split(model.device),
            ):
                new_FHWC = pictures_FHWC[max(0, done - passed) :]
                passed += len(pictures_FHWC)
                if len(new_FHWC):
                    done += len(new_FHWC)
                    yield new_FHWC
            return
        except (RuntimeError, MemoryError) as error:
            smaller = plan.smaller() if is_out_of_memory(error) else None
            if smaller is None:
                raise
        # Outside of the except block, so that nothing holds on to the tensors of the failed chunk.
        if model.device.type == "cuda":
            torch.cuda.empty_cache()
        plan = smaller
        logger.warning("out of memory while decoding; going on with %s", describe_decoding(plan))
