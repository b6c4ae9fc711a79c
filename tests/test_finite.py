"""Numbers that are not finite never become pixels, nor what the UNet is told: a black video with exit code 0."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from PIL import Image

import longtake
from longtake import Model, apply, decode, generate
from longtake.core.decoding.decode import to_pictures
from longtake.core.decoding.frugal import decode_frugally
from longtake.core.engine.decode_memory import DecodeWork, plan_decoding
from longtake.core.errors import ImageError, ModelError
from longtake.core.footage import encode_video
from longtake.core.image import read_image
from longtake.core.run import Run, Step
from longtake.plugins import preview

SMALL = {"frames": 6, "steps": 1, "seed": 1, "height": 24, "width": 32}
OVERFLOWS = 'the VAE of this model overflows in half precision; try --dtype bfloat16, or "force_upcast": true in vae'


@pytest.fixture(scope="module")
def overflowing(make_pipeline):
    """A pipeline in float16 whose VAE overflows when it decodes."""
    pipe = make_pipeline()
    pipe.vae.decoder.conv_in.weight.data *= 3e4
    pipe.vae.register_to_config(force_upcast=False)
    return pipe.to(torch.float16)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_frames_are_checked_before_they_are_bytes(number, dtype):
    frames_FCHW = torch.zeros(2, 3, 2, 2, dtype=dtype)
    assert (to_pictures(frames_FCHW) == 128).all()
    frames_FCHW[1, 0, 0, 0] = number
    with pytest.raises(ModelError, match="the decoded frames contain NaN or infinity") as refused:
        to_pictures(frames_FCHW)
    assert (OVERFLOWS in str(refused.value)) == (dtype == torch.float16)
    assert str(refused.value).endswith("the weights of the VAE may be damaged") == (dtype == torch.float32)


def test_a_vae_that_overflows_stops_the_run_and_what_the_sentence_says_helps(overflowing, image, tmp_path):
    pipe = copy.deepcopy(overflowing)
    output = tmp_path / "black.mp4"
    with pytest.raises(
        ModelError, match="the decoded frames contain NaN or infinity: the VAE of this model overflows in half"
    ):
        generate(image, model=Model.of(pipe), output=output, **SMALL)
    assert not output.exists()
    pipe.vae.register_to_config(force_upcast=True)
    assert generate(image, model=Model.of(pipe), **SMALL).frames.max() > 0
    pipe.vae.register_to_config(force_upcast=False)
    assert generate(image, model=Model.of(pipe.to(torch.bfloat16)), **SMALL).frames.max() > 0


def test_the_overlap_is_not_tried_on_what_is_not_finite(tiny_model, caplog):
    work = DecodeWork(tiny_model.facts.vae_channels, 40, 3, 4, 4)
    plan = plan_decoding(work, 10**6, 0, 10**6 // 8)
    assert not plan.all_at_once
    with pytest.raises(ModelError, match="the decoded frames contain NaN or infinity"):
        list(decode_frugally(tiny_model, torch.full((40, 4, 3, 4), math.nan), plan))
    assert "nan" not in caplog.text


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (
            "vae.encoder.conv_in",
            "the latents of the image contain NaN or infinity, in float32: the weights of the VAE may",
        ),
        (
            "image_encoder.visual_projection",
            "the image embedding contains NaN or infinity, in float32: the weights of the image encoder may",
        ),
    ],
)
def test_what_the_unet_is_told_is_checked(pipe, image, part, said):
    name, rest = part.split(".", 1)
    module = getattr(pipe, name).get_submodule(rest)
    module.weight.data.fill_(math.nan)
    with pytest.raises(ModelError, match=said):
        generate(image, model=Model.of(pipe), **SMALL)


def test_latents_of_a_video_that_is_continued_are_checked(pipe):
    pipe.vae.encoder.conv_in.weight.data.fill_(math.nan)
    with pytest.raises(ModelError, match="the latents of the video contain NaN or infinity"):
        encode_video(Model.of(pipe), np.zeros((2, 24, 32, 3), np.uint8))


def test_a_preview_is_not_black_but_an_error(tiny_model, image, tmp_path):
    config = longtake.Config(preview=str(tmp_path / "preview.png"))
    run = Run(config, tiny_model, None, image, None)
    step = Step(2, 4, 1.5, 1.0, torch.zeros(1, 2, 4, 6, 8), denoised=torch.full((1, 2, 4, 6, 8), math.nan), run=run)
    with pytest.raises(ModelError, match=r"the predicted latents stopped being finite at step 3 of 4 .*in 2 frames"):
        preview.longtake_after_step(step)
    assert not list(tmp_path.iterdir())


def test_a_pipeline_that_decodes_by_itself_is_warned_about(overflowing, call_pipe, image, caplog):
    with apply(overflowing):
        video = call_pipe(overflowing, image, 4, num_inference_steps=1, output_type="np")
    assert len(video[0]) == 4
    said = "the decoded frames contain NaN or infinity: the VAE of this model overflows in half precision; load the "
    assert f"{said}pipeline in bfloat16 or float32" in caplog.text


@pytest.mark.parametrize("output_type", ["latent", "np"])
@pytest.mark.parametrize("part", ["unet.conv_out", "vae.encoder.conv_in"])
def test_a_pipeline_whose_latents_are_not_finite_is_warned_about_once(
    pipe, call_pipe, image, caplog, part, output_type
):
    name, rest = part.split(".", 1)
    getattr(pipe, name).get_submodule(rest).weight.data.fill_(math.nan)
    with apply(pipe):
        call_pipe(pipe, image, 4, num_inference_steps=1, output_type=output_type)
    said = (
        "the latents contain NaN or infinity, in float32: the weights of the UNet or the VAE's encoder may be damaged"
    )
    assert [record.getMessage() for record in caplog.records if record.name == "longtake"] == [said]


def test_an_image_in_floating_point_is_finite():
    values = np.zeros((4, 4), np.float32)
    values[0, 0] = math.nan
    with pytest.raises(ImageError, match="it holds numbers that are not finite"):
        read_image(Image.fromarray(values))


def test_decode_says_it_too(overflowing):
    with pytest.raises(ModelError, match="the VAE of this model overflows in half precision"):
        list(decode(Model.of(overflowing), torch.randn(3, 4, 3, 4)))
