"""What stands in the place of the UNet's forward: the same arguments, the engine's result.

Shape suffixes: B = batch, F = frames, C = channels, K = channels of the image embedding, Y, X = latent rows, columns,
R = rows of the embedding, 1 or F.
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
        """Return the UNet's output, (B, F, C, Y, X); the videos of a batch are run one after another."""
        from diffusers.models.unets.unet_spatio_temporal_condition import UNetSpatioTemporalConditionOutput

        if sample.requires_grad:
            raise LongtakeError("within longtake.installed the UNet gives no gradients; call it under torch.no_grad()")
        if encoder_hidden_states.shape[1] != 1:
            raise LongtakeError(
                f"within longtake.installed the UNet sees one token for each image, as SVD does, got"
                f" {encoder_hidden_states.shape[1]}"
            )
        with at_work(self.unet):
            times = self._embedded(sample, timestep, added_time_ids)
            videos = zip(sample, encoder_hidden_states, times, strict=True)
            output_BFCYX = torch.stack(
                [
                    self.seams.engine.run(*video, branch=(number, self.seams.branch()))
                    for number, video in enumerate(videos)
                ]
            )
        return UNetSpatioTemporalConditionOutput(output_BFCYX) if return_dict else (output_BFCYX,)

    def _embedded(self, sample_BFCYX: Tensor, timestep: Tensor | float, ids_B3: Tensor) -> list[TimeEmbedding]:
        """Return what each video is told of noise level and conditioning; the calls of a step share it."""
        noise_B = torch.as_tensor(timestep, device=sample_BFCYX.device).reshape(-1).expand(len(sample_BFCYX))
        ids_BR3 = self.seams.time_ids()
        if ids_BR3 is None or bool((ids_BR3 == ids_BR3[:, :1]).all()):
            ids_BR3 = ids_B3[:, None]
        told = str((noise_B.tolist(), ids_BR3.tolist())), sample_BFCYX.dtype, sample_BFCYX.device
        return self.seams.shared(told, lambda: self._embed(noise_B, ids_BR3, sample_BFCYX.dtype))

    def _embed(self, noise_B: Tensor, ids_BR3: Tensor, dtype: torch.dtype) -> list[TimeEmbedding]:
        """Work it out: one row for each video, or one for each of its frames where they differ."""
        noise_BC = self.unet.time_embedding(self.unet.time_proj(noise_B).to(dtype))
        batch, rows = ids_BR3.shape[:2]
        ids_C = self.unet.add_time_proj(ids_BR3.flatten()).reshape(batch * rows, -1)
        told_BRC = self.unet.add_embedding(ids_C.to(noise_BC.dtype)).unflatten(0, (batch, rows))
        return [TimeEmbedding(embedding_RC) for embedding_RC in noise_BC[:, None] + told_BRC]
