"""The loop: Euler's method between noise levels, and the hooks around each step."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import longtake
from longtake import denoise, hookimpl, scalings
from longtake.core.errors import ModelError
from longtake.core.manager import add_plugin
from longtake.schedules.sigmas import Karras


def video(frames: int = 5, seed: int = 0) -> torch.Tensor:
    return torch.randn(1, frames, 4, 3, 2, generator=torch.Generator().manual_seed(seed))


@given(frames=st.integers(1, 12), steps=st.integers(1, 30), sigma_max=st.floats(5, 700), seed=st.integers(0, 999))
def test_a_perfect_denoiser_gives_back_the_video(frames, steps, sigma_max, seed):
    truth = video(frames, seed)
    sigmas = Karras().sigmas(steps, 0.002, sigma_max)
    result = denoise(lambda latents, sigma: truth, video(frames, seed + 1), sigmas)
    torch.testing.assert_close(result, truth, atol=1e-3, rtol=0)


@given(steps=st.integers(1, 30), step=st.data(), seed=st.integers(0, 999))
def test_one_step_equals_the_scheduler_of_diffusers(make_scheduler, steps, step, seed):
    oracle = make_scheduler()
    oracle.set_timesteps(steps)
    sigmas = Karras().sigmas(steps, 0.002, 700.0)
    index = step.draw(st.integers(0, steps - 1))
    sigma, sigma_next = sigmas[index].item(), sigmas[index + 1].item()
    latents, prediction = video(seed=seed) * math.sqrt(sigma**2 + 1), video(seed=seed + 1)
    scaling = scalings(sigma)
    timestep = oracle.timesteps[index]
    torch.testing.assert_close(scaling.c_noise, timestep.item(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(latents * scaling.c_in, oracle.scale_model_input(latents, timestep))
    expected = oracle.step(prediction, timestep, latents).prev_sample
    denoised = scaling.c_skip * latents + scaling.c_out * prediction
    torch.testing.assert_close(
        latents + (latents - denoised) / sigma * (sigma_next - sigma), expected, atol=1e-3, rtol=1e-5
    )


def test_the_initial_latents_are_scaled_as_the_scheduler_scales_them():
    seen = []

    def remember(latents, sigma):
        seen.append(latents.clone())
        return latents * 0

    sigmas = Karras().sigmas(3, 0.002, 700.0)
    noise = video()
    denoise(remember, noise, sigmas)
    torch.testing.assert_close(seen[0], noise * math.sqrt(700.0**2 + 1))


@pytest.mark.parametrize("sigma", [0, -1, float("nan")])
def test_a_sigma_that_is_not_positive_is_refused(sigma):
    with pytest.raises(ValueError, match="sigma must be positive, got"):
        scalings(sigma)


def test_guidance_moves_each_frame_from_unconditional_through_conditional():
    calls = []

    def denoiser(latents, sigma, *, conditional=True):
        calls.append(conditional)
        return torch.full_like(latents, 1.0 if conditional else 0.25)

    scales = torch.tensor([[0.0, 1.0, 2.0, 3.0, 0.5]])
    result = denoise(denoiser, video(), torch.tensor([10.0, 0.0]), scales)
    expected = 0.25 + scales[0] * 0.75
    torch.testing.assert_close(result[0, :, 0, 0, 0], expected, atol=1e-5, rtol=0)
    assert calls == [True, False]


def test_without_guidance_the_unconditional_branch_is_not_run():
    calls = []

    def denoiser(latents, sigma, *, conditional=True):
        calls.append(conditional)
        return latents * 0

    denoise(denoiser, video(), torch.tensor([10.0, 1.0, 0.0]), torch.ones(2, 5))
    assert calls == [True, True]


class Recorder:
    """A plugin that writes down what it is called with."""

    def __init__(self):
        self.seen = []

    @hookimpl
    def longtake_before_step(self, step):
        self.seen.append(("before", step.index, step.denoised is None))

    @hookimpl
    def longtake_after_step(self, step):
        self.seen.append(("after", step.index, step.denoised is None))


def test_hooks_are_called_around_each_step(builtins):
    recorder = Recorder()
    add_plugin(builtins, recorder, "recorder")
    denoise(lambda latents, sigma: latents * 0, video(), torch.tensor([9.0, 3.0, 0.0]), hooks=builtins.manager.hook)
    assert recorder.seen == [("before", 0, True), ("after", 0, False), ("before", 1, True), ("after", 1, False)]


def test_a_hook_may_change_the_latents_before_and_after_a_step(builtins):
    class Edit:
        @hookimpl
        def longtake_before_step(self, step):
            step.latents = torch.zeros_like(step.latents)

        @hookimpl
        def longtake_after_step(self, step):
            step.latents = step.latents + 5

    add_plugin(builtins, Edit(), "edit")
    result = denoise(lambda latents, sigma: latents, video(), torch.tensor([9.0, 0.0]), hooks=builtins.manager.hook)
    assert torch.equal(result, torch.full_like(result, 5.0))


def test_a_plugin_may_decide_the_prediction_and_another_wrap_it(builtins):
    class Decide:
        @hookimpl
        def longtake_predict(self, step):
            return torch.full_like(step.latents, 2.0)

    class Wrap:
        @hookimpl(wrapper=True)
        def longtake_predict(self, step):
            denoised = yield
            return denoised * 10

    add_plugin(builtins, Decide(), "decide")
    add_plugin(builtins, Wrap(), "wrap")

    def never(latents, sigma):
        raise AssertionError("the UNet is not to be called")

    result = denoise(never, video(), torch.tensor([9.0, 0.0]), hooks=builtins.manager.hook)
    torch.testing.assert_close(result, torch.full_like(result, 20.0), atol=1e-4, rtol=0)


def test_latents_that_stop_being_finite_stop_the_run_at_their_step():
    def breaks(latents, sigma):
        denoised = torch.zeros_like(latents)
        if sigma < 5:
            denoised[:, 2] = float("nan")
        return denoised

    with pytest.raises(ModelError, match=r"stopped being finite at step 2 of 3 \(sigma 4\), in frame 2; try --dtype"):
        denoise(breaks, video(), torch.tensor([9.0, 4.0, 1.0, 0.0]))


def test_names_of_the_pieces_are_public():
    assert longtake.denoise is denoise
    assert set(longtake.__all__) <= set(dir(longtake))
    assert all(getattr(longtake, name) is not None for name in longtake.__all__)
