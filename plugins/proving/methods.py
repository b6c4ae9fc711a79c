"""The methods that the proving ground compares: everything of the mission, fast clips, and what is faster."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...core.defaults import GUIDED_AT_FIRST
from .method import STOCK, Method, stock_with

PLAIN = Method("plain", STOCK)
REFERENCES = (
    Method("truth through the VAE", special="truth"),
    Method("first frame held still", special="still"),
    PLAIN,
    Method("chained by the last frame", STOCK, "chain"),
    Method("14 frames, each held", STOCK, "held"),
    Method("14 frames, faded into each other", STOCK, "faded"),
)


YARN_HIGH = {"name": "yarn", "beta_slow": 0.5, "beta_fast": 2}  # leaves more of the frequencies as they are
LINEAR_SHARPENED = {"name": "yarn", "beta_slow": 99, "beta_fast": 100}  # all frequencies alike, and the temperature
POSITIONS = (
    stock_with("linear", positional="linear"),
    stock_with("linear, ends", positional={"name": "linear", "align": "ends"}),
    stock_with("ntk", positional="ntk"),
    stock_with("yarn", positional="yarn"),
    stock_with("yarn without temperature", positional={"name": "yarn", "sharpening": 0}),
    stock_with("yarn 0.5 / 2", positional=YARN_HIGH),
    stock_with("yarn 0.25 / 1", positional={"name": "yarn", "beta_slow": 0.25, "beta_fast": 1}),
    stock_with("yarn 0.1 / 0.5", positional={"name": "yarn", "beta_slow": 0.1, "beta_fast": 0.5}),
    stock_with("linear + temperature", positional=LINEAR_SHARPENED),
    stock_with("linear, from none to all", positional={"name": "dynamic", "first": 0}),
    stock_with("linear, from all to none", positional={"name": "dynamic", "last": 0}),
    stock_with("linear, first half of the steps", positional={"name": "linear", "stop": 0.5}),
)
LINEAR_MOTION = stock_with("linear + motion", positional="linear", motion="compensated")
MOTIONS = (
    LINEAR_MOTION,
    stock_with("linear, ends + motion", positional={"name": "linear", "align": "ends"}, motion="compensated"),
    stock_with("linear + motion^0.5", positional="linear", motion={"name": "compensated", "strength": 0.5}),
    stock_with("linear + motion^1.2", positional="linear", motion={"name": "compensated", "strength": 1.2}),
    stock_with("linear + motion^1.5", positional="linear", motion={"name": "compensated", "strength": 1.5}),
    stock_with("linear, motion bucket to 40", positional="linear", motion={"name": "linear", "last_bucket": 40}),
    stock_with("linear + fps", positional="linear", motion={"name": "compensated", "by": "fps"}),
    stock_with("linear + temperature + motion", positional=LINEAR_SHARPENED, motion="compensated"),
    stock_with("plain + motion", motion="compensated"),
    stock_with("yarn + motion", positional="yarn", motion="compensated"),
    stock_with("yarn 0.5 / 2 + motion", positional=YARN_HIGH, motion="compensated"),
    stock_with("linear, half the steps + motion", positional={"name": "linear", "stop": 0.5}, motion="compensated"),
    stock_with("ntk + motion", positional="ntk", motion="compensated"),
)
WINDOWS = (
    *(
        stock_with(
            f"windows, {positions}, stride {stride}{', linear' if linear else ''}",
            attention={"name": "freenoise", "positions": positions, "stride": stride},
            positional="linear" if linear else "none",
        )
        for positions, linear in (("global", False), ("global", True), ("local", False))
        for stride in (2, 4, 7)
    ),
    stock_with("strided", attention="strided"),
    stock_with("strided, linear", attention="strided", positional="linear"),
    stock_with("windows, local + motion", attention={"name": "freenoise", "positions": "local"}, motion="compensated"),
    stock_with("windows, global, linear + motion", attention="freenoise", positional="linear", motion="compensated"),
    stock_with("strided, linear + motion", attention="strided", positional="linear", motion="compensated"),
)
NOISES = (
    stock_with("noise freenoise", noise="freenoise"),
    stock_with("noise repeat", noise="repeat"),
    stock_with("FreeNoise, global positions", noise="freenoise", attention="freenoise"),
    stock_with("FreeNoise as published", noise="freenoise", attention={"name": "freenoise", "positions": "local"}),
    stock_with(
        "FreeNoise as published + motion",
        noise="freenoise",
        attention={"name": "freenoise", "positions": "local"},
        motion="compensated",
    ),
    stock_with(
        "FreeNoise, linear + motion",
        noise="freenoise",
        attention="freenoise",
        positional="linear",
        motion="compensated",
    ),
)
SENSITIVITIES = (
    *(
        stock_with(f"linear, {share:g} of the stretch", positional={"name": "dynamic", "first": share, "last": share})
        for share in (0.25, 0.5, 0.75)
    ),
    stock_with("linear, half as much again", positional={"name": "dynamic", "alpha": 1.5}),
    *(
        stock_with(
            f"linear + motion, guidance to {top:g}",
            positional="linear",
            motion="compensated",
            guidance={"name": "linear", "max": top},
        )
        for top in (2.0, 3.0, 5.0)
    ),
    stock_with("plain, guidance to 3", guidance="linear"),
    stock_with("linear + motion, 25 steps", positional="linear", motion="compensated", steps=25),
)
FAMILIES = {
    "references": REFERENCES,
    "positions": POSITIONS,
    "motion": MOTIONS,
    "windows": WINDOWS,
    "noise": NOISES,
    "how sensitive": SENSITIVITIES,
}
METHODS = (*REFERENCES, *POSITIONS, *MOTIONS, *WINDOWS, *NOISES, *SENSITIVITIES)

# What is too fast to be made up for: raised with the stretch, the motion bucket would leave the trained range.
FAST = tuple(
    replace(method, name=f"{method.name}, fast clips", fast=True)
    for method in METHODS
    if method in REFERENCES or method.name in ("linear", "linear + motion", "plain + motion", "FreeNoise as published")
)

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
