"""The state of one generation that hooks see."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

    from .conditioning import Conditioning
    from .config import Config
    from .engine.unet import Engine
    from .model import Model
    from .plan import Plan


@dataclass
class Run:
    """One generation, from the resolved config to the written file.

    Attributes:
        config: with nothing left to choose.
        model: the loaded model.
        plan: sigmas, windows, noise, guidance, motion.
        image: the start image at the size of the video.
        conditioning: the start image as the UNet sees it.
        output: the file or folder to be written, if any.
        timings: seconds by name of a part; plugins may add theirs.
        engine: that runs the UNet, while it denoises.
        before_BFCYX: latents with which the video begins, where it continues another one; scaled.
        sha256: of the files that it was made from, by path, as they were when they were read.

    """

    config: Config
    model: Model
    plan: Plan
    image: Image
    conditioning: Conditioning
    output: Path | None = None
    timings: dict[str, float] = field(default_factory=dict)
    engine: Engine | None = None
    before_BFCYX: Tensor | None = None
    sha256: dict[str, str] = field(default_factory=dict)

    @property
    def new(self) -> int:
        """How many frames are new: all but those that the video begins with."""
        return self.plan.frames - (0 if self.before_BFCYX is None else self.before_BFCYX.shape[1])

    @property
    def both_at_once(self) -> bool:
        """Whether the memory plan has both branches of guidance run at once."""
        return self.engine is not None and self.engine.split.videos > 1

    @property
    def vae_scaling(self) -> float:
        """What latents are multiplied by between the VAE and the UNet."""
        return float(self.model.pipeline.vae.config.scaling_factor)


@contextmanager
def timed(timings: dict[str, float], part: str) -> Iterator[None]:
    """Write down the seconds of a block as ``timings[part]``."""
    begin = time.perf_counter()
    try:
        yield
    finally:
        timings[part] = time.perf_counter() - begin


@dataclass
class Step:
    """One step of the denoising; hooks may assign to ``latents`` and ``denoised``.

    Attributes:
        index: 0 for the first, noisiest step.
        count: number of steps.
        sigma: noise level of ``latents`` when the step begins.
        sigma_next: noise level when it ends; 0 after the last.
        latents: (B, F, C, Y, X), float32.
        guidance_F: guidance scale of each frame; None = no guidance.
        denoised: the prediction of x0, once it is made.
        run: the generation, or None where the loop is used by itself.

    """

    index: int
    count: int
    sigma: float
    sigma_next: float
    latents: Tensor
    guidance_F: Tensor | None = None
    denoised: Tensor | None = None
    run: Run | None = None
