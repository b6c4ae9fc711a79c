"""longtake in a pipeline of diffusers, together with what is asked for in its calls and set about it."""

from __future__ import annotations

import pytest
import torch
from applied import ENGINE, TOLERANCE

import longtake
from longtake import apply
from longtake.core.errors import LongtakeError


def attention_slicing(pipe):
    pipe.enable_attention_slicing()


def default_processor(pipe):
    pipe.unet.set_default_attn_processor()


def backend(pipe):
    pipe.unet.set_attention_backend("native")


@pytest.mark.parametrize("choose", [attention_slicing, default_processor, backend])
def test_kernels_of_attention_may_be_chosen(pipe, call_pipe, image, long, choose):
    choose(pipe)
    with apply(pipe):
        torch.testing.assert_close(call_pipe(pipe, image), long, **TOLERANCE)


def test_the_kernel_that_torch_is_told_to_use_is_used(pipe, call_pipe, image, long):
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with apply(pipe), sdpa_kernel(SDPBackend.MATH):
        torch.testing.assert_close(call_pipe(pipe, image), long, **TOLERANCE)


def test_processors_that_would_be_passed_over_are_refused(pipe, call_pipe, image):
    class Special:
        def __call__(self, attn, hidden_states, *args, **kwargs):
            return hidden_states

    pipe.unet.set_attn_processor(Special())
    with apply(pipe):
        with pytest.raises(LongtakeError, match="attention processor Special, which would be passed over: "):
            call_pipe(pipe, image)
        assert "forward" not in vars(pipe.unet)
        call_pipe(pipe, image, 4)  # nothing to stretch, so that it is the stock UNet's affair


EDM = {"sigma_data": 1.0, "sigma_max": 700.0, "prediction_type": "v_prediction"}


# Two of them lose count in the stock pipeline where SVD's sigmas, beyond those of their betas, fall on one timestep.
SCHEDULERS = {
    "EulerAncestralDiscreteScheduler": {},
    "HeunDiscreteScheduler": {"use_karras_sigmas": False},
    "DPMSolverMultistepScheduler": {"use_karras_sigmas": False},
    "EDMEulerScheduler": EDM,
    "EDMDPMSolverMultistepScheduler": EDM,
    "DDIMScheduler": {},
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers_that_the_pipeline_runs_with_run(pipe, call_pipe, image, name):
    import diffusers

    pipe.scheduler = getattr(diffusers, name).from_config(pipe.scheduler.config, **SCHEDULERS[name])
    told = []

    class Recorder(longtake.PositionalStrategy):
        name = "recorder"

        def positions(self, frames_F, span):
            told.append((span.step, span.progress))
            return frames_F

    torch.manual_seed(0)
    theirs = call_pipe(pipe, image, 4, num_inference_steps=3)
    with apply(pipe, positional=Recorder()):
        torch.manual_seed(0)  # ancestral steps draw from it
        mine = call_pipe(pipe, image, 4, num_inference_steps=3)
    limit = 5e-4 * max(1.0, float(theirs.abs().max()))
    assert torch.isfinite(theirs).all()
    torch.testing.assert_close(mine, theirs, atol=limit, rtol=0)
    assert sorted(set(told)) == [(0, 0.0), (1, 0.5), (2, 1.0)]


def test_sigmas_of_the_call_are_the_steps(pipe, call_pipe, image):
    sigmas = [700.0, 10.0, 0.5, 0.0]
    theirs = call_pipe(pipe, image, 4, sigmas=sigmas)
    with apply(pipe, **ENGINE):
        torch.testing.assert_close(call_pipe(pipe, image, 4, sigmas=sigmas), theirs, **TOLERANCE)


def test_batches_and_several_videos_of_an_image(pipe, call_pipe, image):
    both = [image, image.rotate(180)]
    asked = {"num_videos_per_prompt": 2}
    theirs = call_pipe(pipe, both, 4, **asked)
    assert len(theirs) == 4
    with apply(pipe, **ENGINE):
        torch.testing.assert_close(call_pipe(pipe, both, 4, **asked), theirs, **TOLERANCE)
    with apply(pipe, **ENGINE, guidance="linear", noise="freenoise"):
        torch.testing.assert_close(call_pipe(pipe, both, 4, **asked), theirs, **TOLERANCE)
        video, another = call_pipe(pipe, image, num_inference_steps=1, **asked)
        assert (video - another).abs().max() > 0.1


def test_callbacks_see_and_change_what_they_do_in_the_stock_pipeline(pipe, call_pipe, image):
    seen = []

    def colder(pipe, step, timestep, tensors):
        seen.append((step, float(timestep), sorted(tensors)))
        return {"latents": tensors["latents"] * (0.5 if step == 0 else 1)}

    theirs = call_pipe(pipe, image, 4, callback_on_step_end=colder)
    with apply(pipe, **ENGINE):
        torch.testing.assert_close(call_pipe(pipe, image, 4, callback_on_step_end=colder), theirs, **TOLERANCE)
    assert seen[:2] == seen[2:]
    assert (theirs - call_pipe(pipe, image, 4)).abs().max() > 1e-3


def test_without_guidance_there_is_one_branch(pipe, call_pipe, image):
    off = {"min_guidance_scale": 1.0, "max_guidance_scale": 1.0}
    theirs = call_pipe(pipe, image, 4, **off)
    with apply(pipe, **ENGINE):
        torch.testing.assert_close(call_pipe(pipe, image, 4, **off), theirs, **TOLERANCE)


def test_pictures_are_decoded_by_the_pipeline(pipe, call_pipe, image):
    with apply(pipe):
        videos = call_pipe(pipe, [image, image], output_type="pil", decode_chunk_size=4)
    assert [len(video) for video in videos] == [6, 6]
    assert videos[0][0].size == (32, 24)
