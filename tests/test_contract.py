"""One contract test for every registered strategy, and proof that the checks catch what they are for."""

from __future__ import annotations

import importlib
from pkgutil import iter_modules

import pytest
import torch

import longtake
from longtake import Span, Windows
from longtake.core.contracts import Strategy
from longtake.core.testing import check_strategy, example_options

REGISTRY = longtake.load_plugins(third_party=False).registry
ALL = [(kind, name) for kind, classes in REGISTRY.classes.items() for name in classes]


# A file has one shape, and no other can be asked of it: see test_schedules_more.py.
ALL.remove(("noise", "file"))


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_every_strategy_fulfils_its_contract(kind, name):
    check_strategy(REGISTRY.build(kind, {"name": name} | example_options(REGISTRY.classes[kind][name])))


VARIANTS = [
    ("positional", {"name": "linear", "align": "ends"}),
    ("positional", {"name": "yarn", "beta_slow": 0.25, "beta_fast": 1}),
    ("positional", {"name": "dynamic", "of": "yarn", "alpha": 2, "first": 0.2}),
    ("positional", {"name": "dynamic", "of": {"name": "linear", "align": "ends"}, "last": 0}),
    ("positional", {"name": "dynamic", "of": "riflex", "shares": [0, 1, 0.5]}),
    ("positional", {"name": "dynamic", "of": {"name": "longrope", "factors": [1, 9]}, "first": 0}),
    ("positional", {"name": "circular", "way": "round"}),
    ("positional", {"name": "riflex", "width": 0}),
    ("attention", {"name": "freenoise", "window": 9, "stride": 4}),
    ("attention", {"name": "freenoise", "positions": "local", "stride": 1}),
    ("attention", {"name": "freenoise", "fuse": "delayed-sawtooth"}),
    ("attention", {"name": "looped", "window": 3, "stride": 2, "fuse": "overlap-linear"}),
    ("attention", {"name": "looped", "positions": "global", "stride": 1}),
    ("attention", {"name": "decay", "alpha": 0.1, "distance": 0}),
    ("attention", {"name": "local-global", "radius": 1, "every": 50, "first": False}),
    ("attention", {"name": "spectral", "radius": 1, "time": 1, "space": 0.01}),
    ("attention", {"name": "strided", "radius": 1, "every": 5, "first": False}),
    ("attention", {"name": "strided", "every": 1}),
    ("noise", {"name": "freenoise", "window": 3, "stride": 2}),
    ("noise", {"name": "repeat", "window": 5}),
    ("noise", {"name": "mixed", "alpha": 0}),
    ("noise", {"name": "progressive", "alpha": 0.5, "closed": True}),
    ("guidance", {"name": "linear", "min": 3, "max": -1}),
    ("guidance", {"name": "trapezoid", "rise": 0, "fall": 1}),
    ("motion", {"name": "keyframes", "bucket": {"0": 10}, "fps": {"0": 5}}),
    ("context", {"name": "static", "positions": "local", "image": "overlap", "fuse": "flat"}),
    ("context", {"name": "looped", "window": 4, "overlap": 3, "fuse": "gaussian"}),
    ("sampling", {"name": "chain", "chunk": 9, "overlap": 2}),
    ("motion", {"name": "linear", "last_bucket": 10, "last_fps": 20}),
]


@pytest.mark.parametrize(("kind", "options"), VARIANTS, ids=str)
def test_options_keep_the_contract(kind, options):
    check_strategy(REGISTRY.build(kind, options))


def strategies_in(package: str) -> set[type[Strategy]]:
    """Return the strategies with a name that the modules of a subpackage define."""
    folder = importlib.import_module(f"longtake.{package}")
    modules = [importlib.import_module(f"{folder.__name__}.{each.name}") for each in iter_modules(folder.__path__)]
    found = (value for module in modules for value in vars(module).values() if isinstance(value, type))
    return {each for each in found if issubclass(each, Strategy) and "name" in vars(each)}


@pytest.mark.parametrize(
    "package", ["positional", "schedules", "plugins.attention", "plugins.context", "plugins.sampling"]
)
def test_every_strategy_that_is_written_is_registered(package):
    written = strategies_in(package)
    registered = {cls for classes in REGISTRY.classes.values() for cls in classes.values()}
    assert written
    assert written <= registered, f"add to STRATEGIES of plugins/builtin.py: {written - registered}"


def test_no_strategy_of_the_mission_is_lost():
    mission = {
        "positional": [
            *("circular", "clamp", "dynamic", "grouped", "linear", "longrope", "none", "ntk", "pingpong", "riflex"),
            "yarn",
        ],
        "attention": ["decay", "freenoise", "full", "local-global", "looped", "spectral", "strided"],
        "noise": ["file", "freenoise", "independent", "mixed", "progressive", "repeat"],
        "guidance": ["constant", "keyframes", "linear", "trapezoid", "triangle"],
        "sigmas": ["ays", "karras"],
        "motion": ["compensated", "constant", "keyframes", "linear"],
        "context": ["looped", "static", "uniform", "whole"],
        "sampling": ["chain", "freeinit", "joint"],
    }
    for kind, names in mission.items():
        assert set(names) <= set(REGISTRY.classes[kind])


class MovesShortVideos(longtake.PositionalStrategy):
    name = "moves"

    def positions(self, frames_F, span):
        return frames_F + 0.5


class Blind(longtake.AttentionStrategy):
    name = "blind"

    def mask(self, span):
        return torch.zeros(span.frames, span.frames, dtype=torch.bool) if span.frames > span.trained else None


class Uneven(longtake.AttentionStrategy):
    name = "uneven"

    def windows(self, span):
        weights = torch.full((1, span.frames), 0.9)
        return Windows(span.frames, [0], weights) if span.frames > span.trained else None


class Restless(longtake.NoiseSchedule):
    name = "restless"

    def noise(self, shape_BFCYX, sources_F, generator):
        return torch.randn(tuple(shape_BFCYX))


class Rising(longtake.SigmaSchedule):
    name = "rising"

    def sigmas(self, steps, sigma_min, sigma_max):
        return torch.linspace(0, sigma_max, steps + 1)


class Loud(longtake.NoiseSchedule):
    name = "loud"

    def noise(self, shape_BFCYX, sources_F, generator):
        return 100 * super().noise(shape_BFCYX, sources_F, generator)


class Backwards(longtake.NoiseSchedule):
    name = "backwards"

    def sources(self, span, generator):
        return -torch.arange(span.frames)


class Idle(longtake.SamplingStrategy):
    name = "idle"

    def sample(self, sampler, noise_BFCYX):
        return None


class Nowhere(longtake.PositionalStrategy):
    name = "nowhere"

    def positions(self, frames_F, span):
        return None


class Untold(longtake.ContextStrategy):
    name = "untold"

    def image_latents(self, images_FCYX, frames_F, before_TCYX, span):
        return before_TCYX[: len(images_FCYX)]


class Below(longtake.MotionSchedule):
    name = "below"

    def buckets(self, motion_bucket, span):
        return -super().buckets(motion_bucket, span)


class Taken(longtake.PositionalStrategy):
    name = "linear"


class Nameless(longtake.PositionalStrategy):
    pass


@pytest.mark.parametrize(
    ("strategy", "complaint"),
    [
        (Loud(), "noise has a standard deviation of .*, not 1, which is how the model knows noise"),
        (Backwards(), "sources must not be negative, as they count from 0"),
        (Idle(), "a video of 9 frames fails with it: sampling strategy 'idle' must give latents of shape"),
        (Nowhere(), "positions must be a tensor, got NoneType"),
        (Untold(), "image_latents must be finite"),
        (Below(), "buckets must not be negative"),
        (Taken(), "'builtin' has a positional strategy of that name already"),
        (Nameless(), "Nameless has no name, by which a config would ask for it"),
        (MovesShortVideos(), "nothing to stretch, positions change"),
        (Blind(), "attention strategy 'blind' leaves a frame without anything to see"),
        (Uneven(), "must give windows whose weights sum to 1 in every frame"),
        (Restless(), "the same seed gives different noise"),
        (Rising(), "sigmas do not fall"),
    ],
)
def test_the_checks_catch_what_they_are_for(strategy, complaint):
    with pytest.raises(AssertionError, match=complaint):
        check_strategy(strategy)


def test_a_schedule_without_its_method_says_so():
    class Lazy(longtake.GuidanceSchedule):
        name = "lazy"

    with pytest.raises(NotImplementedError, match="'lazy' has no method scales"):
        Lazy().scales(Span(frames=3, trained=3))
