"""A whole generation from Python: what goes in, what comes out, and that it can be made again."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

import longtake
from longtake import Config, generate
from longtake.core.errors import ConfigError, ImageError, OutputError, PluginError
from longtake.core.manager import add_plugin
from longtake.plugins.preview import colour_map, to_colours
from longtake.positional.yarn import Yarn

SMALL = {"width": 32, "height": 24, "steps": 2, "seed": 3}


@pytest.fixture
def run(tiny_model, picture, builtins):
    def run(image=picture, **options):
        return generate(image, model=tiny_model, plugins=builtins, **SMALL | options)

    return run


def test_frames_latents_config_and_timings_come_back(run):
    result = run(frames=9, positional="yarn")
    assert result.frames.shape == (9, 24, 32, 3)
    assert result.frames.dtype == np.uint8
    assert result.latents.shape == (9, 4, 6, 8)
    assert result.config.positional == Yarn()
    assert result.output is None
    assert {"denoise", "decode", "encode", "load", "first step", "median step"} == set(result.timings)
    assert all(seconds >= 0 for seconds in result.timings.values())


def test_the_same_seed_gives_the_same_video_and_another_seed_another(run):
    first = run(frames=7)
    assert np.array_equal(first.frames, run(frames=7).frames)
    assert not np.array_equal(first.frames, run(frames=7, seed=4).frames)


def test_a_config_can_be_given_whole(tiny_folder, picture, builtins, tmp_path):
    picture.save(tmp_path / "start.png")
    config = longtake.load_config(
        {"image": str(tmp_path / "start.png"), "model": str(tiny_folder), "frames": 6, "positional": "ntk", **SMALL},
        builtins.registry,
    )
    result = generate(config, plugins=builtins)
    assert result.frames.shape == (6, 24, 32, 3)
    assert np.array_equal(generate(result.config, plugins=builtins).frames, result.frames)
    assert np.array_equal(
        generate(
            tmp_path / "start.png", model=str(tiny_folder), frames=6, positional="ntk", plugins=builtins, **SMALL
        ).frames,
        result.frames,
    )


def test_it_equals_the_pipeline_when_nothing_is_asked(run, make_pipeline, picture):
    result = run(picture.resize((32, 24)), frames=4, steps=4)
    theirs = make_pipeline()(
        picture.resize((32, 24)),
        height=24,
        width=32,
        num_frames=4,
        num_inference_steps=4,
        generator=torch.Generator().manual_seed(3),
        output_type="np",
    ).frames[0]
    difference = np.abs(result.frames.astype(int) - (theirs * 255).round())
    assert difference.max() <= 1


def test_only_image_and_frames_need_to_be_said(tiny_model, picture, builtins):
    config = generate(picture, frames=6, model=tiny_model, plugins=builtins, steps=1).config
    assert (config.width, config.height) == (32, 32)
    assert config.positional.name == "linear"
    assert config.motion.name == "compensated"
    assert config.seed is not None
    short = generate(picture, model=tiny_model, plugins=builtins, steps=1).config
    assert short.frames == tiny_model.facts.trained
    assert (short.positional.name, short.motion.name) == ("none", "constant")


def test_the_record_makes_the_run_again(run, tiny_folder, picture, builtins, tmp_path):
    picture.save(tmp_path / "start.png")
    output = tmp_path / "out.npy"
    first = generate(tmp_path / "start.png", model=str(tiny_folder), frames=6, output=output, plugins=builtins, **SMALL)
    record = json.loads((tmp_path / "out.npy.json").read_text())
    assert record["seed"] == 3
    assert record["versions"]["torch"] == torch.__version__
    assert record["command"].startswith("longtake generate ")
    config = longtake.load_config(longtake.read_config_file(tmp_path / "out.npy.json"), builtins.registry)
    again = generate(config, output=tmp_path / "again.npy", plugins=builtins, keep_frames=False)
    assert again.frames is None
    assert np.array_equal(np.load(tmp_path / "again.npy"), first.frames)
    assert np.array_equal(np.load(output), first.frames)


def test_an_image_that_was_never_a_file_has_no_command(run, tmp_path):
    run(frames=5, output=tmp_path / "out.npy")
    assert json.loads((tmp_path / "out.npy.json").read_text())["command"] is None


def test_plugins_see_the_run(run, builtins):
    seen = []

    class Watch:
        @longtake.hookimpl
        def longtake_run_started(self, run):
            seen.append(("started", run.plan.frames))

        @longtake.hookimpl
        def longtake_frames_decoded(self, frames, first):
            seen.append((first, len(frames)))

        @longtake.hookimpl
        def longtake_run_finished(self, run):
            seen.append(("finished", sorted(run.timings)))

    add_plugin(builtins, Watch(), "watch")
    run(frames=9, decode_chunk=4)
    assert seen[:4] == [("started", 9), (0, 4), (4, 4), (8, 1)]
    assert seen[4][0] == "finished"


def test_a_preview_shows_the_video_after_every_step(run, tmp_path):
    path = tmp_path / "preview.png"
    run(frames=14, preview=str(path))
    with Image.open(path) as sheet:
        assert sheet.size == (6 * 128, 2 * 96)
        assert np.asarray(sheet).std() > 1
    assert [file.name for file in tmp_path.iterdir()] == ["preview.png"]


def test_a_preview_that_cannot_be_written_is_refused_before_anything_is_computed(run, tmp_path):
    with pytest.raises(OutputError, match=r"preview .*x\.what needs a picture's ending"):
        run(frames=5, preview=str(tmp_path / "x.what"))
    with pytest.raises(OutputError, match="folder .* does not exist; make it first"):
        run(frames=5, preview=str(tmp_path / "no" / "x.png"))


def test_the_previews_colours_are_those_of_the_image(tiny_model):
    """With latents that are a linear mix of colours, the fitted map gives the colours back."""
    generator = torch.Generator().manual_seed(0)
    colours = torch.rand(3, 6, 8, generator=generator)
    mix = torch.randn(4, 3, generator=generator)
    latents = torch.einsum("cr,ryx->cyx", mix, colours) + 0.3
    image = colours.repeat_interleave(4, dim=1).repeat_interleave(4, dim=2)
    shown = to_colours(latents[None], colour_map(latents, image))
    assert np.abs(shown[0] / 255 - colours.permute(1, 2, 0).numpy()).mean() < 0.02


def test_nothing_is_left_in_the_model_after_a_run_that_fails(run, tiny_model, builtins):
    class Fails:
        @longtake.hookimpl
        def longtake_after_step(self, step):
            step.latents = step.latents * math.nan

    add_plugin(builtins, Fails(), "fails")
    before = {name: sorted(vars(module)) for name, module in tiny_model.pipeline.unet.named_modules()}
    with pytest.raises(PluginError, match="after longtake_after_step of fails the latents must be finite"):
        run(frames=9, positional="yarn", attention="freenoise")
    assert {name: sorted(vars(module)) for name, module in tiny_model.pipeline.unet.named_modules()} == before


def test_guidance_can_be_limited_to_an_interval_of_the_steps(run, builtins):
    calls = []

    class Count:
        @longtake.hookimpl(wrapper=True)
        def longtake_predict(self, step):
            calls.append(step.guidance_F.max().item())
            return (yield)

    add_plugin(builtins, Count(), "count")
    run(frames=5, steps=4, guidance={"name": "constant", "scale": 2, "start": 0.3, "stop": 0.9})
    assert calls == [1.0, 2.0, 2.0, 1.0]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"frames": 0}, ConfigError, "frames should be greater than or equal to 1, got 0"),
        ({"frames": 9, "positional": "liner"}, ConfigError, "unknown positional strategy 'liner'.*did you mean"),
        ({"frames": 9, "width": 4, "height": 4}, ConfigError, "size 4x4 is too small .* needs at least 8x8"),
        ({"framez": 9}, ConfigError, "unknown config key 'framez'.*did you mean 'frames'"),
        ({"frames": 5, "output": "out.xyz"}, OutputError, "ending that is not known"),
    ],
)
def test_bad_requests_are_refused_in_clear_words(run, options, error, message):
    with pytest.raises(error, match=f"(?s){message}"):
        run(**options)


def test_a_loaded_model_in_another_precision_than_asked_for_is_refused(run):
    with pytest.raises(ConfigError, match="dtype='float16' was asked for, but the model given is in 'float32'"):
        run(frames=5, dtype="float16")


def test_torchs_own_dtypes_and_devices_are_understood(run):
    config = run(frames=5, dtype=torch.float32, device=torch.device("cpu")).config
    assert (config.dtype, config.device) == ("float32", "cpu")


def test_no_image_is_said_so(tiny_model, builtins):
    with pytest.raises(ConfigError, match="no start image is given"):
        generate(Config(frames=5), model=tiny_model, plugins=builtins)
    with pytest.raises(ImageError, match="does not exist"):
        generate("missing.png", model=tiny_model, plugins=builtins)
