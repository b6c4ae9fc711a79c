"""What devices have: how much memory is free, on them and on their host, and how they say that there is none left."""

from __future__ import annotations

import torch

GIB = 2**30
# Beyond so much a chunk has no gain from being larger; on a CPU it even loses, because it leaves the cache.
WORKSPACE = {"cpu": 24 * 2**20}
WORKSPACE_ELSEWHERE = 2 * 2**30
UNIFIED = ("cpu", "mps")  # whose memory is the host's
HOST_ELSEWHERE = 64 * GIB
SHARE_OF_HOST = 0.8  # of the host's free memory, that may hold what a device has no room for
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "STATUS_ALLOC_FAILED")


def workspace_for(device: torch.device) -> int:
    """Return the bytes that a chunk may take on a device where there is room."""
    return WORKSPACE.get(device.type, WORKSPACE_ELSEWHERE)


def is_here(device: torch.device) -> bool:
    """Whether this machine has a device; what it would do on another one may be looked at."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):  # every backend that is not there says so its own way
        return False
    return True


def free_memory(device: torch.device) -> int:
    """Return the bytes that are free on a device: of a CPU, those that the system could give."""
    if device.type == "cuda":
        used = torch.cuda.memory_allocated(device)
        free, total = torch.cuda.mem_get_info(device)
        free += torch.cuda.memory_reserved(device) - used
        # Of what the process may take at all; torch knows to tell since 2.7, of a device that has its number.
        number = torch.cuda.current_device() if device.index is None else device.index
        share = getattr(torch.cuda, "get_per_process_memory_fraction", lambda _: 1.0)(number)
        return min(free, int(share * total) - used)
    import psutil

    return int(psutil.virtual_memory().available)


def host_room(device: torch.device) -> int:
    """Return the bytes of the host's memory that may hold what a device has no room for.

    None where both are the same memory. Of the host of a device that is not here a usual amount is taken to be free.
    """
    if device.type in UNIFIED:
        return 0
    return int(SHARE_OF_HOST * (free_memory(torch.device("cpu")) if is_here(device) else HOST_ELSEWHERE))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, or the system, had no memory left: there are many ways to say so."""
    known = isinstance(error, (torch.OutOfMemoryError, MemoryError))
    return known or (isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY))


def amount(size: int) -> str:
    """Return bytes as a person would say them."""
    if size >= GIB:
        return f"{size / GIB:.1f} GiB"
    if size >= 2**20:
        return f"{size / 2**20:.0f} MiB"
    return f"{size / 2**10:.0f} KiB" if size >= 2**10 else f"{size} bytes"
