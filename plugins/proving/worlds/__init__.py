"""Worlds by formula: videos of any length whose truth is known, all valid forever."""

from __future__ import annotations

from .canvas import SIDE, Track, World
from .comet import Comet
from .orbit import Orbit
from .pan import Pan
from .two import Two
from .zoom import Zoom

WORLDS: dict[str, type[World]] = {world.kind: world for world in (Pan, Zoom, Orbit, Comet, Two)}

__all__ = ["SIDE", "WORLDS", "Comet", "Orbit", "Pan", "Track", "Two", "World", "Zoom"]
