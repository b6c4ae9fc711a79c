"""Hooks that take fewer arguments than longtake gives, as those of an old plugin do."""

from __future__ import annotations

import os
from pathlib import Path

import longtake


def _note(line: str) -> None:
    log = os.environ.get("LONGTAKE_FEWER_LOG")
    if log:
        with Path(log).open("a", encoding="utf-8") as file:
            file.write(line + "\n")


@longtake.hookimpl
def longtake_run_started() -> None:
    """Take nothing at all."""
    _note("started")


@longtake.hookimpl
def longtake_frames_decoded(first: int) -> None:
    """Take the last of three arguments."""
    _note(f"decoded from frame {first}")
