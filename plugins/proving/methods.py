"""The methods that the proving ground compares: each is a set of options of a config."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...core.defaults import GUIDED_AT_FIRST
from ...core.errors import LongtakeError, did_you_mean

LENGTHS = (14, 28, 56, 112)


@dataclass(frozen=True, slots=True)
class Method:
    """One row of the table.

    Attributes:
        name: in the table.
        options: of a config; frames, seed, image, fps and motion bucket are those of the case.
        special: "truth", "still", "chain", "held" or "faded" for the rows that are no single generation; "end" where
            the truth's last frame is the end image; else empty.
        fast: whether its clips are as fast as trained ones whatever their length.

    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    special: str = ""
    fast: bool = False


# Nothing is stretched, and the motion bucket is the one asked for: what stock SVD does when asked for more frames. But
# it is not guided, which the small model has no need of, so that a row costs half; rows of their own show guidance.
STOCK: dict[str, Any] = {
    "positional": "none",
    "attention": "full",
    "noise": "independent",
    "guidance": {"name": "constant", "scale": 1},
    "motion": "constant",
}
PLAIN = Method("plain", STOCK)
REFERENCES = (
    Method("truth through the VAE", special="truth"),
    Method("first frame held still", special="still"),
    PLAIN,
    Method("chained by the last frame", STOCK, "chain"),
    Method("14 frames, each held", STOCK, "held"),
    Method("14 frames, faded into each other", STOCK, "faded"),
)


def _with(name: str, **options: Any) -> Method:
    return Method(name, STOCK | options)


YARN_HIGH = {"name": "yarn", "beta_slow": 0.5, "beta_fast": 2}  # leaves more of the frequencies as they are
LINEAR_SHARPENED = {"name": "yarn", "beta_slow": 99, "beta_fast": 100}  # all frequencies alike, and the temperature
POSITIONS = (
    _with("linear", positional="linear"),
    _with("linear, ends", positional={"name": "linear", "align": "ends"}),
    _with("ntk", positional="ntk"),
    _with("yarn", positional="yarn"),
    _with("yarn without temperature", positional={"name": "yarn", "sharpening": 0}),
    _with("yarn 0.5 / 2", positional=YARN_HIGH),
    _with("yarn 0.25 / 1", positional={"name": "yarn", "beta_slow": 0.25, "beta_fast": 1}),
    _with("yarn 0.1 / 0.5", positional={"name": "yarn", "beta_slow": 0.1, "beta_fast": 0.5}),
    _with("linear + temperature", positional=LINEAR_SHARPENED),
    _with("linear, from none to all", positional={"name": "dynamic", "first": 0}),
    _with("linear, from all to none", positional={"name": "dynamic", "last": 0}),
    _with("linear, first half of the steps", positional={"name": "linear", "stop": 0.5}),
)
MOTIONS = (
    _with("linear + motion", positional="linear", motion="compensated"),
    _with("linear + motion^0.5", positional="linear", motion={"name": "compensated", "strength": 0.5}),
    _with("linear + motion^1.2", positional="linear", motion={"name": "compensated", "strength": 1.2}),
    _with("linear + motion^1.5", positional="linear", motion={"name": "compensated", "strength": 1.5}),
    _with("linear, motion bucket to 40", positional="linear", motion={"name": "linear", "last_bucket": 40}),
    _with("linear + fps", positional="linear", motion={"name": "compensated", "by": "fps"}),
    _with("linear + temperature + motion", positional=LINEAR_SHARPENED, motion="compensated"),
    _with("plain + motion", motion="compensated"),
    _with("yarn + motion", positional="yarn", motion="compensated"),
    _with("yarn 0.5 / 2 + motion", positional=YARN_HIGH, motion="compensated"),
    _with("linear, half the steps + motion", positional={"name": "linear", "stop": 0.5}, motion="compensated"),
    _with("ntk + motion", positional="ntk", motion="compensated"),
)
WINDOWS = (
    *(
        _with(
            f"windows, {positions}, stride {stride}{', linear' if linear else ''}",
            attention={"name": "freenoise", "positions": positions, "stride": stride},
            positional="linear" if linear else "none",
        )
        for positions, linear in (("global", False), ("global", True), ("local", False))
        for stride in (2, 4, 7)
    ),
    _with("strided", attention="strided"),
    _with("strided, linear", attention="strided", positional="linear"),
    _with("windows, local + motion", attention={"name": "freenoise", "positions": "local"}, motion="compensated"),
    _with("windows, global, linear + motion", attention="freenoise", positional="linear", motion="compensated"),
    _with("strided, linear + motion", attention="strided", positional="linear", motion="compensated"),
)
NOISES = (
    _with("noise freenoise", noise="freenoise"),
    _with("noise repeat", noise="repeat"),
    _with("FreeNoise, global positions", noise="freenoise", attention="freenoise"),
    _with("FreeNoise as published", noise="freenoise", attention={"name": "freenoise", "positions": "local"}),
    _with(
        "FreeNoise as published + motion",
        noise="freenoise",
        attention={"name": "freenoise", "positions": "local"},
        motion="compensated",
    ),
    _with(
        "FreeNoise, linear + motion",
        noise="freenoise",
        attention="freenoise",
        positional="linear",
        motion="compensated",
    ),
)
SENSITIVITIES = (
    *(
        _with(f"linear, {share:g} of the stretch", positional={"name": "dynamic", "first": share, "last": share})
        for share in (0.25, 0.5, 0.75)
    ),
    _with("linear, half as much again", positional={"name": "dynamic", "alpha": 1.5}),
    *(
        _with(
            f"linear + motion, guidance to {top:g}",
            positional="linear",
            motion="compensated",
            guidance={"name": "linear", "max": top},
        )
        for top in (2.0, 3.0, 5.0)
    ),
    _with("plain, guidance to 3", guidance="linear"),
    _with("linear + motion, 25 steps", positional="linear", motion="compensated", steps=25),
)
CONTEXTS = (
    *(
        _with(
            f"context {name}, linear + motion{', ' + image if image != 'start' else ''}",
            positional="linear",
            motion="compensated",
            context={"name": name, "image": image},
        )
        for name, image in (
            ("static", "start"),
            ("static", "faded"),
            ("static", "overlap"),
            ("uniform", "start"),
            ("uniform", "faded"),
        )
    ),
    *(
        _with(
            f"context static, each from zero{', ' + image if image != 'start' else ''}",
            context={"name": "static", "positions": "local", "image": image},
        )
        for image in ("start", "faded", "overlap")
    ),
)
CHAINS = (
    _with("chain", sampling="chain"),
    _with("chain, 7 frames shared", sampling={"name": "chain", "overlap": 7}),
    _with("chain, 1 frame shared", sampling={"name": "chain", "overlap": 1}),
    _with("chain, fresh noise", sampling={"name": "chain", "carry": "renoised"}),
    _with("chain, image only", sampling={"name": "chain", "carry": "image", "overlap": 1}),
    _with("chain, half matched", sampling={"name": "chain", "match": 0.5}),
    _with("chain, matched", sampling={"name": "chain", "match": 1}),
)
RESTARTS = tuple(
    _with(
        f"linear + motion, freeinit from {sigma:g}",
        positional="linear",
        motion="compensated",
        sampling={"name": "freeinit", "sigma": sigma},
    )
    for sigma in (2, 14.6)
)
METHODS = (*REFERENCES, *POSITIONS, *MOTIONS, *WINDOWS, *NOISES, *SENSITIVITIES)
GOING = tuple(
    replace(_with(f"{name}, end image", **options), special="end")
    for name, options in (
        ("plain", {}),
        ("linear", {"positional": "linear"}),
        ("linear + motion", {"positional": "linear", "motion": "compensated"}),
    )
)
TECHNIQUES = (*CONTEXTS, *CHAINS, *RESTARTS, *GOING)

# What is too fast to be made up for: raised with the stretch, the motion bucket would leave the trained range.
FAST = tuple(
    replace(method, name=f"{method.name}, fast clips", fast=True)
    for method in METHODS
    if method in REFERENCES or method.name in ("linear", "linear + motion", "plain + motion", "FreeNoise as published")
)
FAST_CHAINS = tuple(replace(method, name=f"{method.name}, fast clips", fast=True) for method in CHAINS)

# What is faster is compared with a whole generation: guided, in 25 steps.
GUIDED: dict[str, Any] = STOCK | {"positional": "linear", "motion": "compensated", "guidance": "linear", "steps": 25}
CHOSEN = {kind: value for kind, value in GUIDED.items() if kind not in ("guidance", "steps")}
SPEEDS = (
    Method("exact", GUIDED),
    Method("exact, other noise", GUIDED | {"seed": 20_000}),
    Method("ays, 10 steps", GUIDED | {"sigmas": "ays", "steps": 10}),
    Method("guided in the first half", GUIDED | {"guidance": GUIDED_AT_FIRST}),
    *(Method(f"deep features every {steps} steps", GUIDED | {"reuse": steps}) for steps in (2, 3, 5)),
    Method("weights in 8 bits", GUIDED | {"weights": "float8"}),
    Method("speed fast", CHOSEN | {"speed": "fast", "steps": 10}),
    Method("speed draft", CHOSEN | {"speed": "draft", "steps": 10}),
)

# The methods on which the questions of the page and the defaults rest: they get more clips.
QUESTIONS: dict[str, tuple[str, ...]] = {
    "references": tuple(method.name for method in REFERENCES),
    "positions": ("linear", "yarn", "yarn without temperature", "yarn 0.5 / 2", "linear + temperature"),
    "motion": (
        "linear + motion",
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
            raise LongtakeError(f"unknown method {name!r}; known: {', '.join(known)}{did_you_mean(name, known)}")
    return [method for method in known.values() if method.name in names or method is PLAIN]


STAGES = {
    "screen": Stage(METHODS, LENGTHS, seeds=2),
    "final": Stage(tuple(choose([name for names in QUESTIONS.values() for name in names])), LENGTHS, seeds=13),
    "fast": Stage(FAST, (14, 28, 56), seeds=13),
    "speed": Stage(SPEEDS, (28, 56), seeds=6),
    "techniques": Stage((*TECHNIQUES, *FAST_CHAINS), (28, 56), seeds=13),
}
