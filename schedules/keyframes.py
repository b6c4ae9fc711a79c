"""Values at some frames, and straight lines between them."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from ..core.contracts import Span
from ..core.errors import ConfigError

# Frame → value; JSON and TOML know no keys but strings, which pydantic reads as numbers.
Frame = Annotated[int, Field(strict=False)]


def interpolate(keys: dict[int, float], span: Span, what: str) -> Tensor:
    """Return the value of each frame, (F,): held before the first key and after the last one.

    Args:
        keys: value by frame of the whole video; negative ones count from its end, -1 being the last frame.
        span: all of the video, or a part that is made by itself.
        what: the option, for what is said if it does not fit.

    Raises:
        ConfigError: a frame is not in the video, or is named twice.

    """
    frames = span.frames_of_video
    placed: dict[int, float] = {}
    for frame, value in keys.items():
        place = frame + frames if frame < 0 else frame
        if not 0 <= place < frames:
            raise ConfigError(f"{what} names frame {frame}, but the video has frames 0 to {frames - 1}")
        if place in placed:
            raise ConfigError(f"{what} names frame {place} twice, also as {frame}")
        placed[place] = value
    places = sorted(placed)
    values = [placed[place] for place in places]
    places_K, values_K = torch.tensor(places, dtype=torch.float64), torch.tensor(values, dtype=torch.float64)
    frames_F = span.numbers_F.double()
    after_F = torch.searchsorted(places_K, frames_F).clamp(1, max(1, len(places) - 1))
    if len(places) == 1:
        return torch.full((span.frames,), values[0])
    start_F, end_F = places_K[after_F - 1], places_K[after_F]
    share_F = ((frames_F - start_F) / (end_F - start_F)).clamp(0, 1)
    return torch.lerp(values_K[after_F - 1], values_K[after_F], share_F).float()
