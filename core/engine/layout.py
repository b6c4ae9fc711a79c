"""The one layout of states: channels last, so that pixels are tokens and nothing is copied between the two.

Convolutions take it as it is, a linear layer sees each pixel as a row, and a convolution over frames sees frames and
pixels as rows and columns.

Shape suffixes: F = frames, C = channels, Y, X = rows, columns, P = pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from .wrapped import is_plain


def channels_last(states_FCYX: Tensor) -> Tensor:
    """Return the states with channels last in memory; as they are where they are already."""
    return states_FCYX.contiguous(memory_format=torch.channels_last)


def tokens_of(states_FCYX: Tensor) -> Tensor:
    """Return the pixels of states with channels last as (F, P, C): the same memory."""
    return states_FCYX.permute(0, 2, 3, 1).flatten(1, 2)


def states_of(tokens_FPC: Tensor, size: torch.Size) -> Tensor:
    """Return tokens as states of so many rows and columns, (F, C, Y, X): the same memory."""
    states_FCYX: Tensor = tokens_FPC.unflatten(1, size).permute(0, 3, 1, 2)
    return states_FCYX


def side_by_side(states_FPX: Tensor, videos: int) -> Tensor:
    """Return states of the frames of some videos, which take turns, with the pixels of one time side by side.

    Frames are then as many as a video has, pixels as many as all videos have together: the same memory. What follows
    the pixels stays as it is.
    """
    return states_FPX if videos == 1 else states_FPX.unflatten(0, (-1, videos)).flatten(1, 2)


def in_turn(states_FPX: Tensor, videos: int) -> Tensor:
    """Return states whose pixels are side by side with frames in turn again."""
    return states_FPX if videos == 1 else states_FPX.unflatten(1, (videos, -1)).flatten(0, 1)


@contextmanager
def weights_channels_last(model: nn.Module) -> Iterator[None]:
    """Let the weights of plain convolutions lie with channels last too, where each call would copy them otherwise.

    The numbers stay the same; on every exit they lie as before.
    """
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Conv3d)]
    with ExitStack() as back:
        for conv in convolutions:
            if is_plain(conv) and conv.weight.is_contiguous() and gains(conv.weight):
                back.callback(_lay, conv, torch.contiguous_format)
                _lay(conv, torch.channels_last if isinstance(conv, nn.Conv2d) else torch.channels_last_3d)
        yield


def gains(weight: Tensor) -> bool:
    """Whether there is a gain in moving a weight: on a CPU none was seen, and its memory may be shared or pinned."""
    return weight.device.type not in ("cpu", "meta")


def _lay(conv: nn.Conv2d | nn.Conv3d, memory: torch.memory_format) -> None:
    with torch.inference_mode(False):  # in which the user may be, who will need ordinary weights when it has ended
        conv.weight.data = conv.weight.data.contiguous(memory_format=memory)
