"""What strategies and hooks give is checked at every step: whoever breaks the contract is named."""

from __future__ import annotations

import pytest
from odd_plugins import ATTENTION, POSITIONAL, REGISTER, SMALL

import longtake
from longtake import generate
from longtake.core.errors import PluginError

OTHERS = """
class Odd(longtake.{kind}):
    name = "odd"
    {method}
"""
WINDOWS = "longtake.Windows(4, [0, 3], torch.tensor([[1., 1, 1, .5, 0, 0, 0], [0, 0, 0, .5, 1, 1, 1]])"


@pytest.mark.parametrize(
    ("kind", "method", "asked", "message"),
    [
        (
            "SamplingStrategy",
            "def sample(self, sampler, noise_BFCYX): return sampler(noise_BFCYX) * float('nan')",
            "sampling",
            "sampling strategy 'odd' must give finite latents",
        ),
        (
            "SamplingStrategy",
            "def sample(self, sampler, noise_BFCYX): return sampler(noise_BFCYX)[:, :-1]",
            "sampling",
            r"sampling strategy 'odd' must give latents of shape \(1, 7, 4, 6, 8\), got shape \(1, 6, 4, 6, 8\)",
        ),
        (
            "SamplingStrategy",
            "def sample(self, sampler, noise_BFCYX): return None",
            "sampling",
            r"sampling strategy 'odd' must give latents of shape .*, got NoneType",
        ),
        (
            "SamplingStrategy",
            "def seen(self, span): return None",
            "sampling",
            "sampling strategy 'odd' must have 1 to 7 frames denoised together, got None",
        ),
        (
            "NoiseSchedule",
            "def noise(self, shape_BFCYX, sources_F, generator): return torch.full(shape_BFCYX, float('nan'))",
            "noise",
            "noise strategy 'odd' must give finite noise",
        ),
        (
            "NoiseSchedule",
            "def sources(self, span, generator): return torch.arange(span.frames) - 3",
            "noise",
            "noise strategy 'odd' must give noise sources that count from 0",
        ),
        (
            "PositionalStrategy",
            "def temperature(self, span): return float('nan') if span.step else 1.0",
            "positional",
            r"positional strategy 'odd' must give a finite number of 0 or more .*, got nan \(.*step 2 of 3\)",
        ),
        (
            "PositionalStrategy",
            "def temperature(self, span): return None",
            "positional",
            "positional strategy 'odd' must give a finite number as temperature, got None",
        ),
        (
            "ContextStrategy",
            f"def windows(self, span): return {WINDOWS} * 2)",
            "context",
            r"context strategy 'odd' must give windows whose weights sum to 1 in every frame \(.*step 1 of 3\)",
        ),
        (
            "ContextStrategy",
            f"def windows(self, span): return {WINDOWS}.roll(1, 1))",
            "context",
            "context strategy 'odd' must give windows whose weights sum to 1 in every frame",
        ),
        (
            "ContextStrategy",
            "def windows(self, span): return longtake.Windows(4, [0, 4], torch.ones(2, 7))",
            "context",
            "context strategy 'odd' must give windows within the 7 frames, got 4 from frame 4 on",
        ),
        (
            "ContextStrategy",
            f"def windows(self, span): return {WINDOWS})\n"
            "    def image_latents(self, images_FCYX, frames_F, before_TCYX, span): return images_FCYX[:1]",
            "context",
            r"context strategy 'odd' must give image latents of shape \(4, .*\), got shape \(1, ",
        ),
        (
            "AttentionStrategy",
            f"def windows(self, span): return {WINDOWS} * (2 if span.step == 2 else 1))",
            "attention",
            r"attention strategy 'odd' must give windows whose weights sum to 1 in every frame \(.*step 3 of 3\)",
        ),
        (
            "AttentionStrategy",
            "def mask(self, span): return torch.zeros(7, 7, dtype=torch.bool) if span.step == 1 else None",
            "attention",
            r"attention strategy 'odd' leaves a frame without anything to see \(.*step 2 of 3\)",
        ),
        (
            "AttentionStrategy",
            "def windows(self, span): return torch.ones(2, 7)",
            "attention",
            "attention strategy 'odd' must give Windows with a tensor of weights, or None, got tensor",
        ),
        (
            "AttentionStrategy",
            "def attend(self, q_PNFD, k_PNFD, v_PNFD, span, scale): return None",
            "attention",
            "attention strategy 'odd' must return .* from attend, got NoneType",
        ),
        (
            "SigmaSchedule",
            "def sigmas(self, steps, sigma_min, sigma_max): return torch.ones(steps + 1)",
            "sigmas",
            "sigma schedule 'odd' must fall at every step and end at 0",
        ),
    ],
    ids=[
        "nan latents",
        "fewer latents",
        "no latents",
        "seen none",
        "nan noise",
        "negative sources",
        "nan temperature later",
        "no temperature",
        "weights of two",
        "weights elsewhere",
        "a window beyond the end",
        "image latents",
        "windows at the last step",
        "an empty mask later",
        "a tensor for windows",
        "nothing attended",
        "level sigmas",
    ],
)
def test_what_a_strategy_must_not_give_is_named(
    tiny_model, picture, plugins_with, tmp_path, kind, method, asked, message
):
    plugins = plugins_with(OTHERS.format(kind=kind, method=method) + REGISTER)
    with pytest.raises(PluginError, match=message) as told:
        options = {asked: "odd", "output": tmp_path / "out.mp4"} | SMALL
        generate(picture, model=tiny_model, plugins=plugins, **options)
    assert "(of plugin 'odd'" in str(told.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("hook", "change", "got"),
    [
        ("before", "None", "NoneType"),
        ("before", "step.latents[:, 1:]", r"shape \(1, 6, .*\)"),
        ("after", "None", "NoneType"),
        ("after", "step.latents * float('nan')", "some that are not finite"),
    ],
)
def test_what_hooks_make_of_latents_is_checked(tiny_model, picture, plugins_with, hook, change, got):
    plugins = plugins_with(f"@longtake.hookimpl\ndef longtake_{hook}_step(step):\n    step.latents = {change}\n")
    said = rf"after longtake_{hook}_step of odd the latents must be finite and of shape \(1, 7, .*\), got {got}, at"
    with pytest.raises(PluginError, match=said):
        generate(picture, model=tiny_model, plugins=plugins, **SMALL)


@pytest.mark.parametrize(
    ("asked", "code", "message"),
    [
        (
            "attention",
            ATTENTION.format(wrong="q_PNFD / helper"),
            r"its attention strategy 'odd' at step 2 of 3: NameError",
        ),
        ("attention", ATTENTION.format(wrong="q_PNFD[:1]"), r"from attend, got .* \(of plugin 'odd' at step 2 of 3\)"),
        ("positional", POSITIONAL.format(wrong="1 / 0"), "its positional strategy 'odd': ZeroDivisionError"),
        (
            "noise",
            OTHERS.format(kind="NoiseSchedule", method="def noise(self, shape, sources_F, generator): return shape"),
            r"noise strategy 'odd' must give noise of shape .*, got tuple \(of plugin 'odd'\)",
        ),
    ],
)
def test_in_a_pipeline_of_diffusers_they_are_named_too(pipe, call_pipe, image, plugins_with, asked, code, message):
    plugins = plugins_with(code + REGISTER)
    with longtake.apply(pipe, plugins=plugins, **{asked: "odd"}), pytest.raises(PluginError, match=message):
        call_pipe(pipe, image, frames=7, num_inference_steps=3)
    assert "forward" not in vars(pipe.unet)
