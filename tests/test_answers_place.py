"""Results of strategies in another dtype, or on another device: refused with plugin, strategy and step."""

from __future__ import annotations

import pytest
import torch

import longtake
from longtake.core.errors import PluginError

REST = """

@longtake.hookimpl
def longtake_register_strategies(register):
    register(Odd)
"""
PLACES = {"float64": ".double()", "device": ".to('meta')", "complex": ".to(torch.complex64)"}
METHODS = {
    "positional": ("PositionalStrategy", "def positions(self, frames_F, span): return frames_F{odd}", "positions"),
    "positional ": ("PositionalStrategy", "def frequencies(self, freqs_K, span): return freqs_K{odd}", "frequencies"),
    "attention": ("AttentionStrategy", "def attend(self, q, k, v, span, scale): return v{odd}", "the result of attend"),
    "attention ": (
        "AttentionStrategy",
        "def mask(self, span): return torch.zeros(span.frames, span.frames){odd}",
        "a mask",
    ),
    "noise": ("NoiseSchedule", "def noise(self, shape, sources_F, g): return torch.zeros(*shape){odd}", "noise"),
    "guidance": (
        "GuidanceSchedule",
        "def scales(self, span): return torch.ones(span.frames){odd}",
        "guidance scales",
    ),
    "motion": ("MotionSchedule", "def buckets(self, bucket, span): return torch.ones(span.frames){odd}", "buckets"),
    "sigmas": (
        "SigmaSchedule",
        "def sigmas(self, steps, low, high): return torch.linspace(high, 0, steps + 1){odd}",
        "sigmas",
    ),
    "sampling": (
        "SamplingStrategy",
        "def sample(self, sampler, noise): return sampler(noise){odd}",
        "latents",
    ),
    "context": (
        "ContextStrategy",
        "def windows(self, span):\n        return longtake.Windows(span.frames, [0], torch.ones(1, span.frames){odd})",
        "weights",
    ),
}
SIZE = {"frames": 6, "steps": 2, "width": 32, "height": 24, "seed": 1}


def strategy(kind: str, odd: str) -> str:
    contract, method, _ = METHODS[kind]
    return f'class Odd(longtake.{contract}):\n    name = "odd"\n    {method.format(odd=odd)}\n{REST}'


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", METHODS)
def test_another_dtype_or_device_is_refused_by_name(kind, place, plugins_with, tiny_model, image):
    plugins = plugins_with(strategy(kind, PLACES[place]))
    with pytest.raises(PluginError) as caught:
        longtake.generate(image, model=tiny_model, plugins=plugins, **SIZE | {kind.strip(): "odd"})
    said = str(caught.value)
    must = "must return" if place == "device" else "must give"
    assert f"strategy 'odd' {must} {METHODS[kind][2]} " in said and "(of plugin 'odd'" in said
    assert "on the CPU, not on meta" in said if place == "device" else f"got {place}" in said
    assert kind != "attention" or said.endswith("at step 1 of 2)")


@pytest.mark.parametrize("kind", ["positional", "guidance", "motion"])
def test_whole_numbers_are_the_same_numbers(kind, plugins_with, tiny_model, image):
    whole, plain = (
        longtake.generate(image, model=tiny_model, plugins=plugins_with(strategy(kind, odd)), **SIZE | {kind: "odd"})
        for odd in (".long()", "")
    )
    assert torch.equal(whole.latents, plain.latents)


HOOK = """
@longtake.hookimpl
def longtake_{hook}(step{more}):
    step.latents = step.latents{odd}
    return step.latents
"""


@pytest.mark.parametrize("place", ["float64", "device"])
@pytest.mark.parametrize(("hook", "more"), [("before_step", ""), ("after_step", ""), ("predict", ", denoiser")])
def test_hooks_are_held_to_the_same(hook, more, place, plugins_with, tiny_model, image):
    plugins = plugins_with(HOOK.format(hook=hook, more=more, odd=PLACES[place]))
    with pytest.raises(PluginError, match=r"odd.*at step 1 of 2|at step 1 of 2.*odd") as caught:
        longtake.generate(image, model=tiny_model, plugins=plugins, **SIZE)
    assert ("float64" if place == "float64" else "meta") in str(caught.value)
