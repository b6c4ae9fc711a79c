"""Any strategy with any other: a video comes out, the same one again, and nothing stays behind."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import longtake
from longtake import generate
from longtake.core.errors import ConfigError
from longtake.core.testing import example_options

REGISTRY = longtake.load_plugins(third_party=False).registry
SMALL = {"width": 32, "height": 24, "steps": 2, "seed": 3}


def named(kind: str) -> st.SearchStrategy[dict[str, object]]:
    known = sorted(set(REGISTRY.classes[kind]) - {"file"})
    return st.sampled_from([{"name": name} | example_options(REGISTRY.classes[kind][name]) for name in known])


factors = st.fixed_dictionaries(
    {},
    optional={
        "key_scale": st.sampled_from([0.8, {"steps": [1.2, 1]}]),
        "temperature": st.sampled_from([1.3, [0.9, 1.1]]),
    },
)
attentions = st.builds(lambda strategy, more: strategy | more, named("attention"), factors)
configs = st.fixed_dictionaries(
    {kind: attentions if kind == "attention" else named(kind) for kind in REGISTRY.classes},
    optional={"frames": st.integers(2, 14), "loop": st.booleans(), "reuse": st.integers(1, 2)},
)


def state(unet) -> list[tuple[str, type, tuple[str, ...]]]:
    return [(name, type(module), tuple(sorted(vars(module)))) for name, module in unet.named_modules()]


def tensors_alive() -> int:
    gc.collect()
    return sum(isinstance(each, torch.Tensor) for each in gc.get_objects())


@given(asked=configs)
@settings(max_examples=settings.default.max_examples // 2, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_combination_works_or_is_refused_with_a_sentence(tiny_model, picture, builtins, asked):
    unet = tiny_model.pipeline.unet
    before, weights = state(unet), [parameter.clone() for parameter in unet.parameters()]

    def run():
        return generate(picture, model=tiny_model, plugins=builtins, **{"frames": 9} | SMALL | asked)

    try:
        made = run()
    except ConfigError as refused:
        assert len(str(refused)) > 30
        assert state(unet) == before
        return
    assert made.frames.shape == (asked.get("frames", 9), 24, 32, 3)
    assert torch.isfinite(made.latents).all()
    assert np.array_equal(run().frames, made.frames)
    assert state(unet) == before
    assert all(torch.equal(one, other) for one, other in zip(unet.parameters(), weights, strict=True))


@pytest.mark.parametrize(
    "asked",
    [
        {"sampling": "chain", "context": {"name": "uniform", "window": 3}, "attention": "spectral"},
        {"sampling": "freeinit", "context": "looped", "attention": "looped"},
        {"attention": "decay", "noise": "progressive", "reuse": 2},
    ],
    ids=str,
)
def test_memory_is_given_back(tiny_model, picture, builtins, asked):
    """As many tensors live after the third generation as after the second."""
    counts = []
    for _ in range(3):
        generate(picture, model=tiny_model, plugins=builtins, frames=9, **SMALL | asked)
        counts.append(tensors_alive())
    assert counts[2] <= counts[1]
