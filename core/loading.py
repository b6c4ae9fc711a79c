"""What loading does to the whole process, kept to itself: one load at a time, in silence, torch's settings untouched.

While they make empty modules transformers and diffusers change how torch makes them, and in which precision: for all
threads, and back to what they found. Two loads at once would find what the other one left.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch

LIBRARIES = ("diffusers", "transformers", "huggingface_hub")

_one_at_a_time = threading.RLock()


@contextmanager
def loading() -> Iterator[None]:
    """Let models be loaded within the block, while other threads that would load one wait."""
    with _one_at_a_time, _quiet(), _same_default_dtype():
        yield


@contextmanager
def _same_default_dtype() -> Iterator[None]:
    """Keep libraries from changing torch's default precision while they load: it is that of all threads.

    transformers then loads in the usual precision, so whoever loads casts at the end.
    """
    me, change = threading.get_ident(), torch.set_default_dtype

    def of_others(dtype: torch.dtype) -> None:
        if threading.get_ident() != me:
            change(dtype)

    with patch.object(torch, "set_default_dtype", of_others):
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep bars and warnings of the libraries away, but for bars of downloads; put back what the user had set."""
    from diffusers.utils import logging as of_diffusers
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from transformers.utils import logging as of_transformers

    downloads = disable_progress_bars if are_progress_bars_disabled() else enable_progress_bars
    with ExitStack() as back, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=rf"({'|'.join(LIBRARIES)})\.")
        for name in LIBRARIES:
            logger = logging.getLogger(name)
            back.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.CRITICAL)
        back.callback(downloads)  # which those of transformers take along, on and off
        for library in (of_diffusers, of_transformers):
            back.callback(_bars_as_now(library))
            library.disable_progress_bar()
        downloads()
        yield


def _bars_as_now(library: Any) -> Callable[[], None]:
    """Return what puts the bars of a library back."""
    on: Callable[[], None] = library.enable_progress_bar
    off: Callable[[], None] = library.disable_progress_bar
    return on if library.is_progress_bar_enabled() else off
