"""How like each other the frames of a video are, in the eyes of a model's own image encoder."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ...core.conditioning import embed_images
from ...core.model import load_model
from .video_measures import Frames, Measure

BATCH = 16


def consistency(frames_FHW3: Frames, model: str) -> list[Measure]:
    """Return the likeness of each frame to the first and to the one before, as cosines of their embeddings.

    Args:
        frames_FHW3: in uint8.
        model: a name as in a config; the embedded model's encoder has random weights and tells little.

    """
    loaded = load_model(model)
    parts = [frames_FHW3[start : start + BATCH] for start in range(0, len(frames_FHW3), BATCH)]
    embedded = [embed_images(loaded, [Image.fromarray(frame) for frame in part])[:, 0] for part in parts]
    codes_FC = np.concatenate([part.float().cpu().numpy() for part in embedded]).astype(np.float64)
    codes_FC /= np.linalg.norm(codes_FC, axis=1, keepdims=True)
    to_first_F = codes_FC @ codes_FC[0]
    to_last_S = (codes_FC[1:] * codes_FC[:-1]).sum(axis=1)
    return [
        Measure("like the first", float(to_first_F.mean()), "cosine", "higher", "of the image embeddings", to_first_F),
        Measure("like the last", float(to_last_S.mean()), "cosine", "higher", "of neighbouring embeddings", to_last_S),
    ]
