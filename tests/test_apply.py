"""longtake in a pipeline of diffusers: the videos that it makes there are those of its own loop."""

from __future__ import annotations

import types

import pytest
import torch
from applied import SMALL, TOLERANCE

import longtake
from longtake import Model, apply, generate
from longtake.core.engine.unet import Engine
from longtake.core.errors import ConfigError
from longtake.core.manager import add_plugin
from longtake.plugins.attention.freenoise import FreeNoiseWindows

TRAINED = 4


@pytest.fixture(scope="module")
def pipe(make_pipeline):
    """A pipeline that every test leaves as it was."""
    return make_pipeline()


@pytest.mark.parametrize("frames", [2, TRAINED])
def test_where_nothing_is_asked_and_nothing_to_stretch_no_bit_changes(pipe, call_pipe, image, frames, monkeypatch):
    stock = call_pipe(pipe, image, frames)
    monkeypatch.setattr(Engine, "run", None)  # the engine, whose sums are in another order, is not even asked
    with apply(pipe) as applied:
        assert applied is pipe
        assert torch.equal(call_pipe(pipe, image, frames), stock)


def test_strategies_that_have_nothing_to_stretch_give_the_stock_video(pipe, call_pipe, image):
    stock = call_pipe(pipe, image, TRAINED)
    with apply(pipe, positional="yarn", attention="freenoise", noise="freenoise", motion="compensated"):
        mine = call_pipe(pipe, image, TRAINED)
    torch.testing.assert_close(mine, stock, **TOLERANCE)


STRATEGIES = [
    {},
    {"positional": "yarn", "attention": FreeNoiseWindows(positions="local"), "noise": "freenoise"},
    {
        "positional": {"name": "linear", "align": "ends", "stop": 0.5},
        "attention": {"name": "freenoise", "key_scale": {"steps": [1.2, 0.8]}},
        "guidance": "triangle",
        "motion": {"name": "compensated", "by": "fps"},
    },
    {
        "positional": "none",
        "noise": {"name": "progressive", "alpha": 1},
        "guidance": {"name": "linear", "stop": 0.5},
        "motion": {"name": "keyframes", "bucket": {0: 20, -1: 200}},
    },
]


@pytest.mark.parametrize("strategies", STRATEGIES, ids=["defaults", "windows", "mappings", "per frame"])
def test_a_pipeline_makes_the_video_that_the_loop_makes(pipe, call_pipe, image, strategies):
    with apply(pipe, **strategies):
        theirs = call_pipe(pipe, image, 7, fps=9, motion_bucket_id=40, noise_aug_strength=0.1)[0]
    mine = generate(
        image,
        model=Model.of(pipe),
        **SMALL,
        **{"frames": 7, "steps": 2, "seed": 1, "fps": 9, "motion_bucket": 40, "noise_aug": 0.1} | strategies,
    ).latents
    assert mine.abs().mean() > 0.1
    torch.testing.assert_close(theirs, mine, **TOLERANCE)


def test_each_strategy_changes_a_long_video(pipe, call_pipe, image):
    others = {"positional": "none", "attention": "full", "noise": "independent", "motion": "constant"}
    changed = {"positional": "linear", "attention": "strided", "noise": "freenoise", "motion": "compensated"}
    with apply(pipe, **others):
        without = call_pipe(pipe, image, 9)
    torch.testing.assert_close(without, call_pipe(pipe, image, 9), **TOLERANCE)
    for kind, strategy in changed.items():
        with apply(pipe, **others | {kind: strategy}):
            assert (call_pipe(pipe, image, 9) - without).abs().max() > 1e-3


def test_pictures_are_those_of_the_loop(pipe, call_pipe, image):
    with apply(pipe):
        theirs = call_pipe(pipe, image, output_type="np")[0]
    mine = generate(image, model=Model.of(pipe), frames=6, steps=2, seed=1, **SMALL).frames
    assert abs(theirs * 255 - mine).max() <= 1.01  # rounded to bytes, after decoders that add up in another order


def test_strategies_of_third_parties_are_found_by_name_and_know_the_step(pipe, call_pipe, image, builtins):
    told = []

    class Recorder(longtake.PositionalStrategy):
        name = "recorder"

        def positions(self, frames_F, span):
            told.append((span.step, span.progress, span.frames))
            return frames_F / 2

    @longtake.hookimpl
    def longtake_register_strategies(register):
        register(Recorder)

    plugin = types.ModuleType("longtake_recorder")
    plugin.longtake_register_strategies = longtake_register_strategies
    add_plugin(builtins, plugin, "recorder")
    for asked in (Recorder(), "recorder", {"name": "recorder", "stop": 0.9}):
        with apply(pipe, positional=asked, plugins=builtins):
            told.clear()
            call_pipe(pipe, image, num_inference_steps=3)
        steps = [(0, 0.0, 6), (1, 0.5, 6), (2, 1.0, 6)]
        assert sorted(set(told)) == (steps[:2] if isinstance(asked, dict) else steps)
    with pytest.raises(ConfigError, match="unknown positional strategy 'recorder'; known: "):
        apply(pipe, positional="recorder", plugins=longtake.load_plugins(third_party=False))


def test_guidance_is_asked_for_once(pipe, call_pipe, image):
    with apply(pipe, guidance="constant") as long:
        for scales in ({"max_guidance_scale": 2}, {"max_guidance_scale": 1.0}, {"min_guidance_scale": 2}):
            with pytest.raises(ConfigError, match="'constant' is applied .* but the call asks for . to . by itself"):
                call_pipe(long, image, **scales)
        call_pipe(long, image)
    with apply(pipe):  # where none is applied, that of the call counts
        theirs = call_pipe(pipe, image, min_guidance_scale=2, max_guidance_scale=2)
    with apply(pipe, guidance={"name": "constant", "scale": 2}):
        torch.testing.assert_close(call_pipe(pipe, image), theirs, **TOLERANCE)


def test_the_unconditional_branch_is_not_run_where_it_counts_for_nothing(pipe, call_pipe, image, monkeypatch):
    runs, run = [], Engine.run

    def counted(self, sample, tokens, *more, **named):
        runs.extend(tokens)
        return run(self, sample, tokens, *more, **named)

    monkeypatch.setattr(Engine, "run", counted)
    for schedule, expected in (
        ("linear", 4),
        ({"name": "constant", "scale": 1}, 2),
        ({"name": "linear", "stop": 0.5}, 3),
    ):
        runs.clear()
        with apply(pipe, guidance=schedule):
            call_pipe(pipe, image)
        assert len(runs) == expected


def test_noise_comes_from_the_generators_of_the_call(pipe, call_pipe, image):
    both = [image, image.rotate(180)]
    with apply(pipe, noise="freenoise"):
        alone = [call_pipe(pipe, each, seed=seed)[0] for seed, each in enumerate(both)]
        together = call_pipe(pipe, both, generator=[torch.Generator().manual_seed(seed) for seed in (0, 1)])
        torch.testing.assert_close(together, torch.stack(alone), **TOLERANCE)
        with pytest.raises(ValueError, match="list of generators of length 1, but requested an effective batch"):
            call_pipe(pipe, both, generator=[torch.Generator()])
        made = []
        for _ in range(2):
            torch.manual_seed(3)
            made.append(call_pipe(pipe, image, generator=None))
        assert torch.equal(*made)
        given = torch.randn(1, 6, 4, 6, 8)
        mine = call_pipe(pipe, image, latents=given)
    with apply(pipe):
        assert torch.equal(call_pipe(pipe, image, latents=given), mine)  # latents that are given are what counts


def test_a_generator_of_another_device_seeds_the_noise():
    from longtake.core.pipeline import _on_cpu

    class Elsewhere:
        device = torch.device("cuda")

    generator = torch.Generator().manual_seed(2)
    assert _on_cpu(generator) is generator
    drawn = torch.Generator().manual_seed(2)
    seen, randint = [], torch.randint
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            torch, "randint", lambda high, size, generator, device: seen.append(device) or randint(high, size)
        )
        assert _on_cpu(Elsewhere()).device == torch.device("cpu")
    assert seen == [torch.device("cuda")]
    assert drawn.initial_seed() == 2


def test_more_motion_than_the_model_knows_is_said(pipe, call_pipe, image, caplog):
    with apply(pipe):
        call_pipe(pipe, image, 8, motion_bucket_id=100, num_inference_steps=1)
        assert caplog.text == ""
        call_pipe(pipe, image, 8, motion_bucket_id=200, num_inference_steps=1)
    assert "motion bucket 200 is too high for 8 frames" in caplog.text
