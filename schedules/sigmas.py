"""The noise levels that a generation passes through."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ..core.contracts import SigmaSchedule

AYS_TOP, AYS_BOTTOM = 700.0, 0.002  # first and last of the eleven published levels


class Karras(SigmaSchedule):
    """Evenly spaced in sigma^(1/rho), as in stock SVD (Karras et al. 2022, arXiv 2206.00364, equation 5)."""

    name = "karras"
    rho: float = Field(default=7.0, ge=0.05, le=100, description="More = more steps at little noise.")

    def sigmas(self, steps: int, sigma_min: float, sigma_max: float) -> Tensor:
        """Return sigma_max … sigma_min and 0, (S + 1,)."""
        # In float64 like diffusers' scheduler, so that the float32 values agree to the last bit.
        ramp_S = np.linspace(0, 1, steps)
        low, high = sigma_min ** (1 / self.rho), sigma_max ** (1 / self.rho)
        sigmas_S = (high + ramp_S * (low - high)) ** self.rho
        return torch.from_numpy(np.append(sigmas_S, 0.0)).float()


class AlignYourSteps(SigmaSchedule):
    """The published levels for SVD (Sabour et al. 2024, arXiv 2404.14507): 10 steps, other counts by interpolation.

    The table has eleven levels, from 700 to 0.002. As published, another number of steps interpolates the logarithms
    over all eleven, and then the last level becomes 0. For a sigma_max other than 700 the logarithms of the first ten
    are scaled about the tenth, 0.034, which keeps the schedule's shape.
    """

    name = "ays"
    default_steps: ClassVar[int] = 10

    def sigmas(self, steps: int, sigma_min: float, sigma_max: float) -> Tensor:
        """Return ``steps`` levels and 0, (S + 1,)."""
        from diffusers.schedulers import AysSchedules

        *levels, _ = AysSchedules["StableDiffusionVideoSigmas"]  # diffusers has 0 for the last
        if sigma_max == AYS_TOP and steps == len(levels):
            return torch.tensor([*levels, 0.0])  # to the last bit as published
        logs_S = np.log(levels)
        tenth = logs_S[-1]
        logs_S = tenth + (logs_S - tenth) * (math.log(sigma_max) - tenth) / (math.log(AYS_TOP) - tenth)
        logs_S1 = np.append(logs_S, math.log(AYS_BOTTOM))
        asked_S1 = np.interp(np.linspace(0, 1, steps + 1), np.linspace(0, 1, len(logs_S1)), logs_S1)
        return torch.from_numpy(np.append(np.exp(asked_S1[:-1]), 0.0)).float()
