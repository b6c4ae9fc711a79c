"""What a sampling strategy works with: the denoising loop, over the whole video or over a chunk of it.

Shape suffixes: B = batch, F = frames, C = latent channels, Y, X = latent rows, columns.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .budget.denoising import FrugalDenoiser
from .denoiser import UnetDenoiser
from .loop import denoise
from .plan import make_plan

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    import pluggy

    from .conditioning import Conditioning
    from .denoiser import Denoiser
    from .engine.memory import MemoryPlan
    from .plan import Plan
    from .run import Run
    from .seams import Seams


class Sampler:
    """Denoises as often as it is called.

    Args:
        run: the generation.
        unet: with the strategies installed.
        seams: of it.
        memory: how the UNet's work is split.
        hooks: of the plugin manager.
        generator: of all noise, after the first one is drawn from it.

    """

    def __init__(
        self,
        run: Run,
        unet: Any,
        seams: Seams,
        memory: MemoryPlan,
        hooks: pluggy.HookRelay,
        generator: torch.Generator,
    ) -> None:
        self.run = run
        self.generator = generator
        self._unet = unet
        self._seams = seams
        self._hooks = hooks
        self._frugal = FrugalDenoiser(self._stock(run.plan, run.conditioning), seams.engine, memory, run.model.device)

    def __call__(
        self,
        noise_BFCYX: Tensor,
        *,
        plan: Plan | None = None,
        conditioning: Conditioning | None = None,
        wrap: Callable[[Denoiser], Denoiser] = lambda denoiser: denoiser,
    ) -> Tensor:
        """Return what the loop makes of noise of unit variance: latents, scaled by the VAE's scaling factor.

        Args:
            noise_BFCYX: as many frames as the plan has.
            plan: of a chunk, from :meth:`plan_for`; by default that of the whole video.
            conditioning: what the chunk is told of an image; by default the start image.
            wrap: puts something around the denoiser, such as what holds frames at what is known of them. It may be
                asked for both branches of guidance as a batch, see :class:`Denoiser`.

        """
        plan, told = plan or self.run.plan, conditioning or self.run.conditioning
        self._frugal.denoiser = self._stock(plan, told)
        run = replace(self.run, plan=plan, conditioning=told)
        return denoise(wrap(self._frugal), noise_BFCYX, plan.sigmas_S1, plan.guidance_SF, hooks=self._hooks, run=run)

    def plan_for(self, places: range) -> Plan:
        """Return the plan of a chunk, given by the numbers of its frames, as of a video by itself."""
        return make_plan(self.run.config, self.run.model.facts, places=places)

    def fresh(self, like_BFCYX: Tensor) -> Tensor:
        """Return fresh noise of unit variance; on the CPU drawn, so that it is the same on every device."""
        return torch.randn(like_BFCYX.shape, generator=self.generator, dtype=torch.float32).to(like_BFCYX)

    def _stock(self, plan: Plan, conditioning: Conditioning) -> UnetDenoiser:
        return UnetDenoiser(self._unet, conditioning, plan, self._seams)
