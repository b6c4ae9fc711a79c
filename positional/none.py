"""Frames keep their own numbers, as in stock SVD."""

from ..core.contracts import PositionalStrategy


class Unchanged(PositionalStrategy):
    """Leave positions as the model numbers them: 0, 1, …, T - 1, far beyond what it was trained on."""

    name = "none"

    def slows(self) -> bool:
        """Return whether motion slows down by the stretch: no."""
        return False
