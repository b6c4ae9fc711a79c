"""What stands in the place of the UNet's forward: the same arguments, the engine's result.

Shape suffixes: B = batch, V = videos that are run together, F = frames, C = channels, K = channels of the image
embedding, Y, X = latent rows, columns, R = rows of the embedding, 1 or F.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .engine.times import TimeEmbedding
from .engine.wrapped import at_work
from .errors import LongtakeError

if TYPE_CHECKING:
    from .seams import Seams


class Forward:
    """Stands in for the UNet's forward: the same arguments, the engine's result."""

    def __init__(self, unet: Any, seams: Seams) -> None:
        self.unet = unet
        self.seams = seams

    @torch.no_grad()
    def __call__(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        encoder_hidden_states: Tensor,
        added_time_ids: Tensor,
        return_dict: bool = True,
    ) -> Any:
        """Return the UNet's output, (B, F, C, Y, X); of a batch, as many videos are run together as the split says."""
        from diffusers.models.unets.unet_spatio_temporal_condition import UNetSpatioTemporalConditionOutput

        if sample.requires_grad:
            raise LongtakeError("within longtake.installed the UNet gives no gradients; call it under torch.no_grad()")
        if encoder_hidden_states.shape[:2] != (len(sample), 1):
            raise LongtakeError(
                f"within longtake.installed the UNet sees one token for the image of each of {len(sample)} videos, as "
                f"SVD does, got {encoder_hidden_states.shape[1]} for each of {len(encoder_hidden_states)}"
            )
        noise_B = torch.as_tensor(timestep, device=sample.device).reshape(-1).expand(len(sample))
        ids_BR3 = self.seams.time_ids()
        if ids_BR3 is None or bool((ids_BR3 == ids_BR3[:, :1]).all()):
            ids_BR3 = added_time_ids[:, None]
        ids_BR3 = ids_BR3.expand(len(sample), -1, -1)
        # Which features are used again must not depend on how much memory there is.
        together = 1 if self.seams.engine.reuse else self.seams.engine.split.videos
        each = (given_B.split(together) for given_B in (sample, encoder_hidden_states[:, 0], noise_B, ids_BR3))
        with at_work(self.unet):
            output_BFCYX = torch.cat(
                [self._together(number, *videos) for number, videos in enumerate(zip(*each, strict=True))]
            )
        return UNetSpatioTemporalConditionOutput(output_BFCYX) if return_dict else (output_BFCYX,)

    def _together(
        self, number: int, sample_VFCYX: Tensor, token_VK: Tensor, noise_V: Tensor, ids_VR3: Tensor
    ) -> Tensor:
        """Return the output of some videos of a batch, which are run at once: their frames take turns."""
        videos, frames = sample_VFCYX.shape[:2]
        told = str((noise_V.tolist(), ids_VR3.tolist())), frames, sample_VFCYX.dtype, sample_VFCYX.device
        time = self.seams.shared(told, lambda: self._embed(noise_V, ids_VR3, frames, sample_VFCYX.dtype))
        sample_FCYX = sample_VFCYX.transpose(0, 1).flatten(0, 1)
        made_FCYX = self.seams.engine.run(sample_FCYX, token_VK, time, branch=(number, self.seams.branch()))
        made_VFCYX: Tensor = made_FCYX.unflatten(0, (frames, videos)).transpose(0, 1)
        return made_VFCYX

    def _embed(self, noise_V: Tensor, ids_VR3: Tensor, frames: int, dtype: torch.dtype) -> TimeEmbedding:
        """Return what the videos are told: in one row, or in one for each frame where frames or videos differ."""
        told = {str(each) for each in zip(noise_V.tolist(), ids_VR3.tolist(), strict=True)}
        if len(told) == 1 and ids_VR3.shape[1] == 1:
            noise_V, ids_VR3, frames = noise_V[:1], ids_VR3[:1], 1
        noise_VC = self.unet.time_embedding(self.unet.time_proj(noise_V).to(dtype))
        videos, rows = ids_VR3.shape[:2]
        ids_C = self.unet.add_time_proj(ids_VR3.flatten()).reshape(videos * rows, -1)
        told_VRC = self.unet.add_embedding(ids_C.to(noise_VC.dtype)).unflatten(0, (videos, rows))
        embedding_VFC = (noise_VC[:, None] + told_VRC).expand(-1, frames, -1)
        return TimeEmbedding(embedding_VFC.transpose(0, 1).flatten(0, 1))
