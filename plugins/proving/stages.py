"""The stages of the table: which methods, at which lengths, on how many clips; and the questions that they answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...core.errors import LongtakeError, did_you_mean
from .method import Method
from .methods import FAST, METHODS, PLAIN, REFERENCES, SPEEDS
from .techniques import FAST_CHAINS, TECHNIQUES

LENGTHS = (14, 28, 56, 112)

# The methods on which the questions of the page and the defaults rest: they get more clips.
QUESTIONS: dict[str, tuple[str, ...]] = {
    "references": tuple(method.name for method in REFERENCES),
    "positions": ("linear", "yarn", "yarn without temperature", "yarn 0.5 / 2", "linear + temperature"),
    "motion": (
        "linear + motion",
        "linear, ends + motion",
        "linear + fps",
        "plain + motion",
        "linear + motion^0.5",
        "linear + motion^1.2",
        "yarn + motion",
        "linear + temperature + motion",
        "yarn 0.5 / 2 + motion",
    ),
    "windows": (
        "windows, global, stride 4",
        "windows, local, stride 2",
        "windows, local, stride 4",
        "windows, local, stride 7",
        "windows, local + motion",
        "windows, global, linear + motion",
        "strided, linear + motion",
    ),
    "noise": (
        "noise freenoise",
        "FreeNoise as published",
        "FreeNoise as published + motion",
        "FreeNoise, linear + motion",
    ),
    "sensitivity": (
        "linear, 0.5 of the stretch",
        "linear, half as much again",
        "linear + motion, guidance to 3",
        "linear + motion, guidance to 5",
    ),
}


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the table: which methods, at which lengths, on how many clips of each world."""

    methods: tuple[Method, ...]
    lengths: tuple[int, ...]
    seeds: int


def choose(names: Sequence[str]) -> list[Method]:
    """Return the methods of these names, in the order of the table, with the baseline that all are compared with.

    Raises:
        LongtakeError: there is no method of such a name.

    """
    known = {method.name: method for method in (*METHODS, *TECHNIQUES, *FAST, *FAST_CHAINS, *SPEEDS)}
    for name in names:
        if name not in known:
            listed = "".join(f"\n  {each}" for each in known)
            raise LongtakeError(f"unknown method {name!r}{did_you_mean(name, known)}\nknown methods:{listed}")
    return [method for method in known.values() if method.name in names or method is PLAIN]


STAGES = {
    "screen": Stage(METHODS, LENGTHS, seeds=2),
    "final": Stage(tuple(choose([name for names in QUESTIONS.values() for name in names])), LENGTHS, seeds=13),
    "fast": Stage(FAST, (14, 28, 56), seeds=13),
    "speed": Stage(SPEEDS, (28, 56), seeds=6),
    "techniques": Stage((*TECHNIQUES, *FAST_CHAINS), (28, 56), seeds=2),
}


def asked(stage: str, names: Sequence[str], frames: Sequence[int]) -> list[tuple[Method, int, int]]:
    """Return each method asked for, with a length and the clips of each world.

    Args:
        stage: one of :data:`STAGES`, or "all".
        names: of methods; none: those of the stage. Of all stages a method takes the one with the most clips.
        frames: lengths; none: those of the stage.

    Raises:
        LongtakeError: there is no method of such a name, or not in this stage.

    """
    chosen = [each for name, each in STAGES.items() if stage in (name, "all")]
    if not names:
        return [
            (method, length, each.seeds)
            for each in chosen
            for length in frames or each.lengths
            for method in each.methods
        ]
    found = []
    for method in choose(names):
        having = [each for each in chosen if method in each.methods or method is PLAIN]
        if not having:
            others = [name for name, each in STAGES.items() if method in each.methods]
            raise LongtakeError(f"stage {stage!r} has no method {method.name!r}; it is in: {', '.join(others)}")
        most = max(having, key=lambda each: each.seeds)
        found += [(method, length, most.seeds) for length in frames or most.lengths]
    return found
