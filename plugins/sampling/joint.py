"""The whole video together."""

from ...core.contracts import SamplingStrategy


class Joint(SamplingStrategy):
    """Denoise all frames together, once, as stock SVD does."""

    name = "joint"
