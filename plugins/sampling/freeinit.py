"""FreeInit: denoise again from noise whose low frequencies are those of the result (Wu et al. 2023, arXiv 2312.07537).

Shape suffixes: B = batch, F = frames, C = latent channels, Y, X = latent rows, columns.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field
from torch import Tensor

from ...core.contracts import SamplingStrategy, Span

if TYPE_CHECKING:
    from ...core.sampler import Sampler


class FreeInit(SamplingStrategy):
    """Denoise several times, each time from noise that has the low frequencies of the last result.

    The paper takes the result back to the last noise level of Stable Diffusion, at which 7 % of it are left (sigma
    14.6). At SVD's own first level, 700, one part in 700 would be left, and nothing would be handed on: so the level is
    an option, and 14.6 its default.
    """

    name = "freeinit"
    iterations: int = Field(default=3, ge=1, le=20, description="Times that the video is denoised.")
    sigma: float = Field(
        default=14.6, gt=0, allow_inf_nan=False, description="Noise level to which a result is taken back."
    )
    filter: Literal["butterworth", "gaussian", "ideal", "box"] = Field(
        default="butterworth", description="How low frequencies are told from high ones."
    )
    space: float = Field(default=0.25, gt=0, le=1, description="Cut-off over rows and columns, of the highest.")
    time: float = Field(default=0.25, gt=0, le=1, description="Cut-off over frames, of the highest.")
    order: int = Field(default=4, ge=1, le=16, description="Order of the Butterworth filter: how steep it is.")

    def frames_denoised(self, span: Span) -> int:
        """Return all frames, as often as they are denoised."""
        return self.iterations * span.frames

    def sample(self, sampler: Sampler, noise_BFCYX: Tensor) -> Tensor:
        """Return the result of the last time."""
        start_BFCYX = noise_BFCYX
        for _ in range(self.iterations - 1):
            made_BFCYX = sampler(start_BFCYX)
            # Of unit variance, as the loop wants it, with the first noise, as in the paper.
            renoised_BFCYX = (made_BFCYX + self.sigma * noise_BFCYX) / math.sqrt(self.sigma**2 + 1)
            start_BFCYX = self.mixed(renoised_BFCYX, sampler.fresh(noise_BFCYX))
        return sampler(start_BFCYX)

    def mixed(self, low_BFCYX: Tensor, high_BFCYX: Tensor) -> Tensor:
        """Return the low frequencies of the one and the high ones of the other, over frames, rows and columns."""
        over = (1, 3, 4)
        pass_FYX = self.low_pass(*(low_BFCYX.shape[axis] for axis in over)).to(low_BFCYX.device)
        pass_F1YX = pass_FYX[:, None]
        low, high = (torch.fft.fftn(each.float(), dim=over) for each in (low_BFCYX, high_BFCYX))
        mixed_BFCYX: Tensor = torch.fft.ifftn(low * pass_F1YX + high * (1 - pass_F1YX), dim=over).real.to(low_BFCYX)
        return mixed_BFCYX

    def low_pass(self, frames: int, rows: int, columns: int) -> Tensor:
        """Return how much of each frequency is low, (F, Y, X), in the order of torch's FFT."""
        t, y, x = torch.meshgrid(
            *(2 * torch.fft.fftfreq(size, dtype=torch.float64) for size in (frames, rows, columns)), indexing="ij"
        )
        t = t * (self.space / self.time)
        squared_FYX = (t**2 + y**2 + x**2) / self.space**2
        if self.filter == "butterworth":
            low_FYX = 1 / (1 + squared_FYX**self.order)
        elif self.filter == "gaussian":
            low_FYX = torch.exp(-squared_FYX / 2)
        elif self.filter == "ideal":
            low_FYX = (squared_FYX <= 1).double()
        else:
            low_FYX = (torch.stack([t.abs(), y.abs(), x.abs()]).amax(0) <= self.space).double()
        return low_FYX.float()
