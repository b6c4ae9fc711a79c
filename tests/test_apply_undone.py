"""What longtake.apply leaves behind in a pipeline, which is nothing, and what it refuses."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from pathlib import Path

import pytest
import torch

import longtake
from longtake import apply, remove
from longtake.core.engine.unet import Engine
from longtake.core.errors import ConfigError, LongtakeError, ModelError, PluginError
from longtake.plugins.attention.freenoise import FreeNoiseWindows
from longtake.positional.linear import Linear

# Latents end at about 1, but begin at 700, where neighbours in float32 are 6e-5 apart.
TOLERANCE = {"atol": 5e-4, "rtol": 0}


def everything_of(pipe) -> list[object]:
    """Return whatever could be left behind: attributes of the pipeline and of every module of its parts."""
    of_a_call = ("_guidance_scale", "_num_timesteps")
    found: list[object] = [{name: value for name, value in vars(pipe).items() if name not in of_a_call}]
    for part in (pipe.unet, pipe.vae, pipe.image_encoder):
        found += [
            (name, type(module), {key: id(value) for key, value in vars(module).items()})
            for name, module in part.named_modules()
        ]
    return found


@pytest.fixture(scope="module")
def pipe(make_pipeline, call_pipe, image):
    """A pipeline that every test leaves as it was; it has been called, which leaves what is diffusers' own."""
    made = make_pipeline()
    call_pipe(made, image, 2)
    return made


@pytest.fixture(autouse=True)
def as_it_was(pipe):
    """Every test ends with the stock pipeline, whatever it tried."""
    before, weights = everything_of(pipe), {name: value.clone() for name, value in pipe.unet.state_dict().items()}
    yield
    assert everything_of(pipe) == before
    assert all(torch.equal(value, weights[name]) for name, value in pipe.unet.state_dict().items())


def test_it_stays_until_it_is_removed(pipe, call_pipe, image):
    stock = call_pipe(pipe, image)
    with apply(pipe, positional="linear"):
        long = call_pipe(pipe, image)
    assert torch.equal(call_pipe(pipe, image), stock)
    applied = apply(pipe, positional="linear", memory="4GiB")
    assert repr(applied).startswith("<longtake applied: positional linear, memory ")
    for _ in range(2):
        assert torch.equal(call_pipe(pipe, image), long)
    remove(pipe)
    assert torch.equal(call_pipe(pipe, image), stock)
    assert (long - stock).abs().max() > 1e-3
    with apply(pipe):  # removed within its block
        remove(pipe)
    with pytest.raises(LongtakeError, match="longtake is not applied to this pipeline, so there is nothing to remove"):
        remove(pipe)


def test_it_is_applied_once(pipe, call_pipe, image):
    with apply(pipe, positional="linear"):
        long = call_pipe(pipe, image)
        with pytest.raises(LongtakeError, match=r"applied to this pipeline already; longtake.remove\(pipe\) first"):
            apply(pipe, positional="yarn")
        assert torch.equal(call_pipe(pipe, image), long)


def test_after_an_exception_in_mid_call_the_unet_is_stock_and_the_next_call_long(pipe, call_pipe, image):
    def stop(pipe, step, timestep, tensors):
        assert "forward" in vars(pipe.unet)
        raise RuntimeError("enough")

    with apply(pipe, positional="linear"):
        long = call_pipe(pipe, image)
        with pytest.raises(RuntimeError, match="enough"):
            call_pipe(pipe, image, callback_on_step_end=stop)
        assert "forward" not in vars(pipe.unet)
        assert torch.equal(call_pipe(pipe, image), long)


def test_a_block_that_was_left_is_not_entered_again(pipe):
    applied = longtake.apply(pipe)
    longtake.remove(pipe)
    with pytest.raises(LongtakeError, match="this has been removed from the pipeline; call longtake.apply again"):
        applied.__enter__()


def test_methods_that_somebody_replaced_before_are_used_and_left(make_pipeline, call_pipe, image):
    pipe, seen = make_pipeline(), []
    stock = pipe.progress_bar

    def quiet(*given, **more):
        seen.append(more)
        return stock(*given, **more)

    pipe.progress_bar = quiet
    with apply(pipe):
        call_pipe(pipe, image)
    assert pipe.progress_bar is quiet
    assert seen == [{"total": 2}]
    assert "prepare_latents" not in vars(pipe)


@pytest.mark.parametrize("name", ["prepare_latents", "progress_bar"])
def test_methods_that_somebody_replaced_since_are_said(make_pipeline, call_pipe, image, name):
    pipe = make_pipeline()
    apply(pipe)
    ours, vars(pipe)[name] = vars(pipe)[name], getattr(type(pipe), name).__get__(pipe)
    for tried in (lambda: call_pipe(pipe, image), lambda: remove(pipe)):
        with pytest.raises(LongtakeError, match=f"pipe.{name} has been replaced since longtake.apply, .*put it back"):
            tried()
    setattr(pipe, name, ours)
    remove(pipe)
    assert not {"prepare_latents", "progress_bar"} & set(vars(pipe))


def test_pipelines_with_different_settings_never_see_each_other(pipe, call_pipe, make_pipeline, image):
    other = make_pipeline(seed=1)
    sharing = type(pipe)(**pipe.components)  # another pipeline of the same UNet
    alone = []
    for each, strategy in ((pipe, "linear"), (other, "yarn"), (sharing, "ntk")):
        with apply(each, positional=strategy):
            alone.append(call_pipe(each, image))
    with apply(pipe, positional="linear"), apply(other, positional="yarn"), apply(sharing, positional="ntk"):
        for each, expected in zip((pipe, other, sharing), alone, strict=True):
            assert torch.equal(call_pipe(each, image), expected)


def test_a_copy_of_a_pipeline_is_applied_by_itself(make_pipeline, call_pipe, image):
    pipe = make_pipeline()
    stock = call_pipe(pipe, image)
    with apply(pipe, positional=Linear()):
        long, copied = call_pipe(pipe, image), copy.deepcopy(pipe)
    assert torch.equal(call_pipe(pipe, image), stock)
    assert torch.equal(call_pipe(copied, image), long)
    remove(copied)
    assert torch.equal(call_pipe(copied, image), stock)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pipeline_is_pickled_only_when_nothing_is_applied(pipe, protocol):
    with apply(pipe):
        with pytest.raises(LongtakeError, match=r"cannot be pickled while .*; call longtake.remove\(pipe\) first"):
            pickle.dumps(pipe, protocol)
        shallow = copy.copy(pipe)
        assert type(shallow) is type(pipe) and shallow.unet is pipe.unet
    assert type(pickle.loads(pickle.dumps(pipe, protocol))) is type(pipe)


def test_memory_is_planned_as_in_the_loop(pipe, call_pipe, image, out_of_memory_once, caplog):
    with apply(pipe):
        long = call_pipe(pipe, image)
    with apply(pipe, memory="10KiB"), pytest.raises(ConfigError, match="6 frames of 32x24 take at least .*what fits"):
        call_pipe(pipe, image)
    calls = out_of_memory_once()
    with apply(pipe):
        torch.testing.assert_close(call_pipe(pipe, image), long, **TOLERANCE)
    assert "out of memory at step 2; going on with about" in caplog.text
    assert calls[-1] != calls[0]


def test_what_is_wrong_is_said_when_it_is_applied(pipe):
    with pytest.raises(ConfigError, match="(?s)unknown positional strategy 'liner'.*did you mean 'linear'"):
        apply(pipe, positional="liner")
    with pytest.raises(ConfigError, match="attention.strid"):
        apply(pipe, attention={"name": "freenoise", "strid": 3})
    with pytest.raises(ConfigError, match="positional"):
        apply(pipe, positional=FreeNoiseWindows())
    with pytest.raises(ConfigError, match="takes no positionl; known: positional, .*\ndid you mean 'positional'"):
        apply(pipe, positionl="linear")
    with pytest.raises(ModelError, match="takes a StableVideoDiffusionPipeline, got UNetSpatio"):
        apply(pipe.unet)
    assert "prepare_latents" not in vars(pipe)


ELSEWHERE = {
    "frames": "pass num_frames=... in the call",
    "sigmas": "pass sigmas=.* in the call, or change pipe.scheduler",
    "context": "longtake.generate.model=longtake.Model.of.pipe., ....",
    "device": "the pipeline is loaded already",
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_is_asked_for_elsewhere_is_refused_with_the_place(pipe, name):
    with pytest.raises(ConfigError, match=f"longtake.apply takes no {name}: .*{ELSEWHERE[name]}"):
        apply(pipe, **{name: 3})


def test_every_option_is_offered_or_refused_with_a_reason():
    from longtake.core.apply import OFFERED, REFUSED

    assert set(longtake.Config.model_fields) | {"plugins"} == set(OFFERED) | set(REFUSED)
    assert not set(OFFERED) & set(REFUSED)
    assert set(OFFERED) == set(inspect.signature(apply).parameters) - {"pipe", "others"}


def test_a_strategy_that_gives_nonsense_is_named_before_anything_is_denoised(pipe, call_pipe, image, monkeypatch):
    class Lost(longtake.NoiseSchedule):
        name = "lost"

        def sources(self, span, generator):
            return torch.arange(2)

    class Short(longtake.GuidanceSchedule):
        name = "short"

        def scales(self, span):
            return torch.ones(1)

    monkeypatch.setattr(Engine, "run", None)
    with apply(pipe, guidance=Short()), pytest.raises(PluginError, match="'short' must give 6 guidance scales, got"):
        call_pipe(pipe, image)
    for frames in (3, 6):
        with apply(pipe, noise=Lost()), pytest.raises(PluginError, match=f"'lost' must give {frames} noise sources"):
            call_pipe(pipe, image, frames)


def test_videos_of_a_call_that_are_told_different_things_are_refused(make_pipeline, call_pipe, image):
    pipe = make_pipeline()
    stock = pipe._get_add_time_ids

    def differing(*given, **more):
        ids = stock(*given, **more)
        return ids * torch.arange(1, len(ids) + 1)[:, None]

    pipe._get_add_time_ids = differing
    with apply(pipe), pytest.raises(LongtakeError, match="the same fps, motion bucket and augmentation for all videos"):
        call_pipe(pipe, image)


def test_the_code_of_the_documentation_runs(make_pipeline, image):
    stock = type(make_pipeline())

    class Small(stock):
        def __call__(self, image, height=24, width=32, num_inference_steps=1, **more):
            return super().__call__(image, height=height, width=width, num_inference_steps=num_inference_steps, **more)

    root = Path(__file__).parents[1]
    texts = [(root / name).read_text(encoding="utf-8") for name in ("README.md", "docs/diffusers.md")]
    blocks = [code for text in texts for code in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)]
    blocks = [code for code in blocks if "longtake.apply" in code]
    assert len(blocks) >= 2
    for code in blocks:
        pipe = Small(**make_pipeline().components)
        exec(code.replace("num_frames=100", "num_frames=7"), {"longtake": longtake, "pipe": pipe, "image": image})
        assert not {"prepare_latents", "progress_bar"} & set(vars(pipe))
