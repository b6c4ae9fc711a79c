"""Every frame sees every frame, as in stock SVD."""

from ...core.contracts import AttentionStrategy


class Full(AttentionStrategy):
    """Leave temporal attention as it is: every frame sees every frame."""

    name = "full"
