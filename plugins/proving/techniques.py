"""The other techniques of the field, a row for each: positions, attention, noise, windows of context, chains, loops."""

from __future__ import annotations

from dataclasses import replace

from .method import stock_with

POSITIONS = (
    *(stock_with(name, positional=name) for name in ("riflex", "pingpong", "circular", "grouped", "clamp")),
    stock_with("riflex, one frequency", positional={"name": "riflex", "width": 0}),
    stock_with("circular, round", positional={"name": "circular", "way": "round"}),
    stock_with("longrope, 1 to 4", positional={"name": "longrope", "factors": [1, 4]}),
    *(
        stock_with(f"{name} + motion", positional=name, motion="compensated")
        for name in ("riflex", "grouped", "pingpong")
    ),
    stock_with(
        "linear, ever less + motion",
        positional={"name": "dynamic", "shares": [1, 1, 0.5, 0]},
        motion="compensated",
    ),
)
LINEAR = {"positional": "linear", "motion": "compensated"}
ATTENTIONS = (
    *(stock_with(name, attention=name) for name in ("decay", "spectral", "local-global", "looped")),
    *(
        stock_with(f"{name}, linear + motion", **LINEAR, attention=name)
        for name in ("decay", "spectral", "local-global")
    ),
    *(
        stock_with(f"linear + motion, {option} {value:g}", **LINEAR, attention={"name": "full", option: value})
        for option, value in (("key_scale", 0.9), ("key_scale", 1.1), ("value_scale", 0.9), ("temperature", 1.3))
    ),
    *(
        stock_with(f"windows fused {fuse}, linear + motion", **LINEAR, attention={"name": "freenoise", "fuse": fuse})
        for fuse in ("flat", "overlap-linear", "gaussian", "delayed-sawtooth")
    ),
)
NOISES = tuple(stock_with(f"noise {name}, linear + motion", **LINEAR, noise=name) for name in ("mixed", "progressive"))
GUIDANCES = (
    stock_with("linear + motion, guidance trapezoid", **LINEAR, guidance="trapezoid"),
    stock_with("linear + motion, guidance triangle", **LINEAR, guidance="triangle"),
    stock_with(
        "linear + motion, guidance keyframes",
        **LINEAR,
        guidance={"name": "keyframes", "scale": {"0": 3, "-1": 1}},
    ),
    stock_with("linear, motion keyframes", positional="linear", motion={"name": "keyframes", "bucket": {"0": 40}}),
)
CONTEXTS = (
    *(
        stock_with(
            f"context {name}, linear + motion{', ' + image if image != 'start' else ''}",
            **LINEAR,
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
        stock_with(
            f"context static, each from zero{', ' + image if image != 'start' else ''}",
            context={"name": "static", "positions": "local", "image": image},
        )
        for image in ("start", "faded", "overlap")
    ),
)
CHAINS = (
    stock_with("chain", sampling="chain"),
    stock_with("chain, 7 frames shared", sampling={"name": "chain", "overlap": 7}),
    stock_with("chain, 1 frame shared", sampling={"name": "chain", "overlap": 1}),
    stock_with("chain, fresh noise", sampling={"name": "chain", "carry": "renoised"}),
    stock_with("chain, image only", sampling={"name": "chain", "carry": "image", "overlap": 1}),
    stock_with("chain, half matched", sampling={"name": "chain", "match": 0.5}),
    stock_with("chain, matched", sampling={"name": "chain", "match": 1}),
)
RESTARTS = tuple(
    stock_with(
        f"linear + motion, freeinit from {sigma:g}",
        **LINEAR,
        sampling={"name": "freeinit", "sigma": sigma},
    )
    for sigma in (2, 14.6)
)
GOING = tuple(
    replace(stock_with(f"{name}, end image", **options), special="end")
    for name, options in (
        ("plain", {}),
        ("linear", {"positional": "linear"}),
        ("linear + motion", {"positional": "linear", "motion": "compensated"}),
    )
)
TECHNIQUE_FAMILIES = {
    "positions": POSITIONS,
    "attention": ATTENTIONS,
    "noise": NOISES,
    "guidance, motion": GUIDANCES,
    "windows of context": CONTEXTS,
    "chains": CHAINS,
    "denoised again": RESTARTS,
    "an end image": GOING,
}
TECHNIQUES = (
    *POSITIONS,
    *ATTENTIONS,
    *NOISES,
    *GUIDANCES,
    *CONTEXTS,
    *CHAINS,
    *RESTARTS,
    *GOING,
)
FAST_CHAINS = tuple(replace(method, name=f"{method.name}, fast clips", fast=True) for method in CHAINS)
