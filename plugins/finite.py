"""Stop with a clear sentence at the step where the latents stop being finite, rather than write a black video."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..core.errors import ModelError
from ..core.hookspecs import hookimpl

if TYPE_CHECKING:
    from ..core.run import Step


@hookimpl(trylast=True)
def longtake_after_step(step: Step) -> None:
    """Check what the next step would begin with.

    Raises:
        ModelError: some of it is NaN or infinite.

    """
    if isinstance(step.latents, torch.Tensor):  # else the loop says so
        check(step.latents, "latents", step)


def check(values_BFCYX: Tensor, what: str, step: Step) -> None:
    """See that the latents of a step, or what it predicts, are finite.

    Raises:
        ModelError: some of them are NaN or infinite.

    """
    broken_BFCYX = ~torch.isfinite(values_BFCYX)
    if not bool(broken_BFCYX.any()):
        return
    frames = broken_BFCYX.any(dim=(0, 2, 3, 4)).nonzero().flatten().tolist()
    where = f"frame {frames[0]}" if len(frames) == 1 else f"{len(frames)} frames, the first of them {frames[0]}"
    raise ModelError(
        f"the {what} stopped being finite at step {step.index + 1} of {step.count} (sigma {step.sigma:.4g}), "
        f"in {where}; try --dtype float32 or bfloat16, less guidance, or another strategy"
    )
