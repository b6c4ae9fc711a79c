"""The blend of what a block makes of each frame and what it makes over the frames."""

from __future__ import annotations

from typing import Any

from .wrapped import at_work


def share_of_temporal(mixer: Any) -> float:
    """Return how much of the temporal part diffusers' ``AlphaBlender`` takes for frames of a video."""
    if mixer.mix_factor.is_meta:  # accelerate keeps it elsewhere until the mixer is called, which it never is
        with at_work(mixer):
            return share_of_temporal(mixer)
    factor = mixer.mix_factor.detach().cpu().double()  # not every device knows float64
    spatial = float(factor if mixer.merge_strategy == "fixed" else factor.sigmoid())
    return spatial if mixer.switch_spatial_to_temporal_mix else 1 - spatial
