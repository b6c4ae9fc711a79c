"""Values that no option can have, and configs with very many faults: one sentence, and not a long one."""

from __future__ import annotations

import math
from typing import get_args

import pytest

import longtake
from longtake.core.config import STRATEGY_KINDS, Config, load_config
from longtake.core.defaults import resolve
from longtake.core.errors import ConfigError, LongtakeError
from longtake.core.facts import read_facts
from longtake.core.plan import make_plan
from longtake.core.testing import example_options

REGISTRY = longtake.load_plugins(third_party=False).registry
NUMBERS = [
    name
    for name, field in Config.model_fields.items()
    if {int, float} & {field.annotation, *get_args(field.annotation)}
]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, 10**30, 10**5000, 1e308, True, [3], "three", "1:30"], ids=type
)
def test_what_is_no_usable_number_is_refused_by_the_name_of_its_option(name, value):
    with pytest.raises(ConfigError, match=f"^{name}") as caught:
        load_config({name: value}, REGISTRY)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"image": "a\0b"}, "image: holds a character NUL"),
        ({"noise": {"name": "file", "path": "a\0b"}}, r"noise\.path: holds a character NUL"),
        ({"attention": {"name": "full", "key_scale": [1, True]}}, "key_scale: should not contain a boolean"),
        ({"attention": {"name": "full", "key_scale": 10**400}}, r"attention\.key_scale: should be between"),
        ({"motion": {"name": "keyframes", "bucket": {10**400: 1}}}, r"motion\.bucket: should be between"),
        ({"positional": {"name": "dynamic", "of": {"name": "yarn", "factor": True}}}, "factor: should not be a bool"),
        ({"sigmas": {"name": "karras", "rho": 1e-300}}, r"sigmas\.rho should be greater than or equal to 0\.05"),
        ({"memory": 10**400}, "memory: should be between"),
        ({"memory": math.inf}, "memory: should be a size"),
        ({1: 2}, "unknown config key '1'"),
    ],
)  # fmt: skip
def test_odd_values_are_refused(data, said):
    with pytest.raises(ConfigError, match=said):
        load_config(data, REGISTRY)


def test_a_thousand_unknown_keys_are_one_sentence():
    with pytest.raises(ConfigError) as caught:
        load_config({f"k{number}": 1 for number in range(1000)} | {"frmaes": 3}, REGISTRY)
    said = str(caught.value)
    assert said.startswith("unknown config keys 'k0', 'k1', 'k2', 'k3', 'k4' and 996 more; known: attention, ")
    assert said.count("known: ") == 1
    assert len(said) < 1000
    with pytest.raises(ConfigError, match=r"unknown config keys 'frmaes', 'sed'; known: .*\ndid you mean 'frames'\?"):
        load_config({"frmaes": 3, "sed": 3}, REGISTRY)
    with pytest.raises(ConfigError, match="and 980 more faults$") as caught:
        load_config({"positional": {"name": "longrope", "factors": [1, *"x" * 990, 1]}}, REGISTRY)
    assert len(str(caught.value)) < 2000


def test_long_values_are_shown_in_part():
    for data in ({"frames": "9x" * 50_000}, {"positional": "x" * 100_000}, {"x" * 100_000: 1}, {"noise": ["a"] * 9999}):
        with pytest.raises(ConfigError) as caught:
            load_config(data, REGISTRY)
        assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("value", [9e18, -9e18, 5e-324, 0])
@pytest.mark.parametrize("kind", sorted(set(STRATEGY_KINDS) - {"attention", "noise", "context"}))
def test_extreme_numbers_make_a_plan_or_a_sentence(kind, value):
    facts = read_facts("embedded")
    for name, cls in REGISTRY.classes[kind].items():
        for option in cls.model_fields:
            options = {"name": name} | example_options(cls) | {option: value}
            try:
                config = load_config({"frames": 20, "steps": 2, "seed": 1, kind: options}, REGISTRY)
                make_plan(resolve(config, facts, REGISTRY), facts)
            except LongtakeError as error:
                assert str(error)
