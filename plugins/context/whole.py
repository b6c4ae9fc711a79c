"""The whole video in one call of the UNet."""

from ...core.contracts import ContextStrategy


class Whole(ContextStrategy):
    """Let the UNet see the whole video at a time: nothing has to be fused, and memory grows with the length."""

    name = "whole"
