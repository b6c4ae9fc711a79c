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
    is on its way already.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._copies = torch.cuda.Stream(device) if device.type == "cuda" else None

    def store(self, states_FCYX: Tensor) -> Source:
        """Copy states to the host."""
        host_FCYX = torch.empty_like(states_FCYX, pin_memory=self._copies is not None, device="cpu")
        if self._copies is None:
            host_FCYX.copy_(states_FCYX)
        else:
            self._copies.wait_stream(torch.cuda.current_stream(states_FCYX.device))
            with torch.cuda.stream(self._copies):
                host_FCYX.copy_(states_FCYX, non_blocking=True)
            states_FCYX.record_stream(self._copies)  # its memory is not to be used again before the copy has ended
        return Source(host_FCYX.shape, _Fetch(host_FCYX, states_FCYX.device, self._copies))


class _Fetch:
    """Brings chunks of states back, one ahead of the one asked for."""

    def __init__(self, host_FCYX: Tensor, device: torch.device, copies: torch.cuda.Stream | None) -> None:
        self._host_FCYX = host_FCYX
        self._device = device
        self._copies = copies
        self._ahead: tuple[slice, Tensor] | None = None

    def __call__(self, chunk: slice) -> Tensor:
        if self._copies is None:
            return self._host_FCYX[chunk].to(self._device)
        ahead, self._ahead = self._ahead, None
        fetched_FCYX = ahead[1] if ahead and ahead[0] == chunk else self._fetch(chunk)
        working = torch.cuda.current_stream(self._device)
        working.wait_stream(self._copies)
        fetched_FCYX.record_stream(working)
        if chunk.stop < len(self._host_FCYX):
            following = slice(chunk.stop, min(2 * chunk.stop - chunk.start, len(self._host_FCYX)))
            self._ahead = (following, self._fetch(following))
        return fetched_FCYX

    def _fetch(self, chunk: slice) -> Tensor:
        with torch.cuda.stream(self._copies):
            return self._host_FCYX[chunk].to(self._device, non_blocking=True)
