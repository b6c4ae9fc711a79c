"""What the way down hands to the way up: kept on the device, or in the host's memory while it is not needed.

Shape suffixes: F = frames, C = channels, Y, X = rows, columns.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .split import Source


class Skips:
    """States on the device, taken in the opposite order."""

    def __init__(self) -> None:
        self._kept: list[Source] = []

    def put(self, states_FCYX: Tensor) -> None:
        """Keep states; whoever made them may go on reading them."""
        self._kept.append(self.store(states_FCYX))

    def store(self, states_FCYX: Tensor) -> Source:
        """Return states where they can wait."""
        return Source.of(states_FCYX)

    def take(self) -> Source:
        """Return the last states that were put and not yet taken."""
        return self._kept.pop()


class HostSkips(Skips):
    """States in the host's memory: they are copied while the device works on, and come back chunk by chunk.

    On a GPU the host's memory is pinned and copies run on a stream of their own; the chunk after the one that is read
    is on its way already. PyTorch rounds pinned memory up to powers of two, so states are kept in pieces a little
    smaller than one.

    Args:
        device: of the states.
        piece: bytes of a piece at the most, but for a single frame.

    """

    def __init__(self, device: torch.device, piece: int = 2**26) -> None:
        super().__init__()
        self._piece = piece
        self._copies = torch.cuda.Stream(device) if device.type == "cuda" else None

    def store(self, states_FCYX: Tensor) -> Source:
        """Copy states to the host."""
        frames = max(1, self._piece // (states_FCYX[0].numel() * states_FCYX.element_size()))
        if self._copies is not None:
            self._copies.wait_stream(torch.cuda.current_stream(states_FCYX.device))
            states_FCYX.record_stream(self._copies)  # its memory is not to be used again before the copy has ended
        with torch.cuda.stream(self._copies):
            pieces = [self._copied(piece_FCYX) for piece_FCYX in states_FCYX.split(frames)]
        return Source(states_FCYX.shape, _Fetch(pieces, len(states_FCYX), states_FCYX.device, self._copies))

    def _copied(self, piece_FCYX: Tensor) -> Tensor:
        host_FCYX = torch.empty_like(piece_FCYX, pin_memory=self._copies is not None, device="cpu")
        return host_FCYX.copy_(piece_FCYX, non_blocking=self._copies is not None)


class _Fetch:
    """Brings chunks of states back, on a GPU one ahead of the one asked for."""

    def __init__(
        self, pieces: list[Tensor], frames: int, device: torch.device, copies: torch.cuda.Stream | None
    ) -> None:
        self._pieces = pieces
        self._frames = frames
        self._device = device
        self._copies = copies
        self._ahead: tuple[slice, Tensor] | None = None

    def __call__(self, chunk: slice) -> Tensor:
        if self._copies is None:
            return self._fetch(chunk)
        ahead, self._ahead = self._ahead, None
        fetched_FCYX = ahead[1] if ahead and ahead[0] == chunk else self._fetch(chunk)
        working = torch.cuda.current_stream(self._device)
        working.wait_stream(self._copies)
        fetched_FCYX.record_stream(working)
        if chunk.stop < self._frames:
            following = slice(chunk.stop, min(2 * chunk.stop - chunk.start, self._frames))
            self._ahead = (following, self._fetch(following))
        return fetched_FCYX

    def _fetch(self, chunk: slice) -> Tensor:
        """Return a chunk on the device, put together from the pieces in which it lies."""
        like, each, on_its_way = self._pieces[0], len(self._pieces[0]), self._copies is not None
        shape = torch.Size((chunk.stop - chunk.start, *like.shape[1:]))
        with torch.cuda.stream(self._copies):
            made_FCYX = torch.empty(shape, dtype=like.dtype, device=self._device, memory_format=torch.channels_last)
            for number in range(chunk.start // each, (chunk.stop - 1) // each + 1):
                inside = slice(max(chunk.start - number * each, 0), min(chunk.stop - number * each, each))
                first = number * each + inside.start - chunk.start
                part_FCYX = made_FCYX[first : first + inside.stop - inside.start]
                part_FCYX.copy_(self._pieces[number][inside], non_blocking=on_its_way)
        return made_FCYX
