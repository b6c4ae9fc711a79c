"""Noise, guidance and sampling inside ComfyUI, on stand-ins: as in longtake's own loop."""

from __future__ import annotations

import pytest
import torch
from comfy_compared import close, sampled_by_longtake
from comfy_model import COLUMNS, FRAMES, PATCHERS, ROWS, TRAINED, SVD_img2vid
from comfy_stand_ins import Euler, Guider, karras, prepare_noise, sampled, told

from longtake.core.contracts import NoiseSchedule, SamplingStrategy
from longtake.core.errors import ConfigError, LongtakeError, PluginError
from longtake.plugins.comfy.sampling import ComfyNoise, ComfySampler, FramewiseGuidance, guided
from longtake.plugins.sampling.chain import Chain
from longtake.plugins.sampling.freeinit import FreeInit
from longtake.schedules.guidance import Constant
from longtake.schedules.guidance import Linear as LinearGuidance
from longtake.schedules.noise import FreeNoise


@pytest.fixture(scope="module")
def unet(tiny_model):
    return tiny_model.pipeline.unet


@pytest.fixture(scope="module", params=PATCHERS, ids=lambda each: each.__name__)
def model(unet, request):
    """A loaded model; tests must leave it as it is."""
    return request.param(SVD_img2vid(unet))


@pytest.fixture(scope="module")
def plain(model):
    """What ComfyUI makes without longtake."""
    return sampled(model)


def test_guidance_over_frames_is_longtakes_own(model, tiny_model):
    schedule = LinearGuidance(min=1.0, max=3.0)
    for cfg in (1.0, 2.0):  # whatever the sampler's cfg is
        close(sampled(guided(model, schedule, TRAINED), cfg=cfg), sampled_by_longtake(tiny_model, guidance=schedule))
    late = LinearGuidance(stop=0.5)
    close(sampled(guided(model, late, TRAINED), steps=3), sampled_by_longtake(tiny_model, steps=3, guidance=late))
    assert torch.equal(
        sampled(guided(guided(model, late, TRAINED), schedule, TRAINED)), sampled(guided(model, schedule, TRAINED))
    )
    one = sampled(model, cfg=1.0)
    assert torch.equal(sampled(guided(model, Constant(scale=1.0), TRAINED), negative=False, cfg=1.0), one)
    with pytest.raises(ConfigError, match="needs a negative conditioning; sample with a CFGGuider or a KSampler"):
        sampled(guided(model, schedule, TRAINED), negative=False)


def test_noise_is_shuffled_as_in_longtakes_own_loop_and_seeded(model, tiny_model):
    noise = ComfyNoise(5, FreeNoise(), TRAINED)
    assert noise.seed == 5
    latents = {"samples": torch.zeros(FRAMES, 4, ROWS, COLUMNS)}
    drawn = noise.generate_noise(latents)
    fresh = prepare_noise(torch.zeros(TRAINED, 4, ROWS, COLUMNS), 5)
    assert torch.equal(drawn[:TRAINED], fresh)
    assert all(any(torch.equal(frame, each) for each in fresh) for frame in drawn)
    assert torch.equal(noise.generate_noise(latents), drawn)
    assert not torch.equal(ComfyNoise(6, FreeNoise(), TRAINED).generate_noise(latents), drawn)
    close(sampled(model, noise=noise), sampled_by_longtake(tiny_model, noise="freenoise"))
    some = noise.generate_noise({"samples": latents["samples"][:3], "batch_index": [2, 8, 5]})
    assert torch.equal(some, drawn[[2, 8, 5]])
    assert torch.isfinite(ComfyNoise(2**64 - 1, FreeNoise(), TRAINED).generate_noise(latents)).all()


def test_noise_and_latents_of_third_parties_are_checked(model):
    class Short(NoiseSchedule):
        name = "short"

        def noise(self, shape_BFCYX, sources_F, generator):
            return super().noise(shape_BFCYX, sources_F, generator)[:, 1:]

    class Lost(SamplingStrategy):
        name = "lost"

        def sample(self, sampler, noise_BFCYX):
            return sampler(noise_BFCYX) * float("nan")

    latents = {"samples": torch.zeros(FRAMES, 4, ROWS, COLUMNS)}
    with pytest.raises(PluginError, match="noise strategy 'short' must give noise of shape .*, got shape"):
        ComfyNoise(5, Short(), TRAINED).generate_noise(latents)
    with pytest.raises(PluginError, match="sampling strategy 'lost' must give finite latents"):
        sampled(model, sampler=ComfySampler(Euler(), Lost()))


@pytest.mark.parametrize("seed", [5, 2**64 - 1])
def test_freeinit_denoises_again_as_longtakes_own_loop_does(model, plain, tiny_model, seed):
    sampler, seen = ComfySampler(Euler(), FreeInit(iterations=2)), []
    made = sampled(model, sampler=sampler, seed=seed, callback=lambda step, *_: seen.append(step))
    assert seen == [0, 1, 0, 1]
    assert torch.equal(sampled(model, sampler=sampler, seed=seed), made)
    assert not torch.equal(made, plain)
    if seed == 5:
        close(made, sampled_by_longtake(tiny_model, sampling=FreeInit(iterations=2)))
    assert sampler.max_denoise.__self__ is sampler.inner


def test_sampling_that_cannot_be_in_comfyui_says_so(model):
    with pytest.raises(LongtakeError, match="'chain' makes a video in parts, which needs longtake's own loop"):
        sampled(model, sampler=ComfySampler(Euler(), Chain()))
    guider = Guider(model)
    guider.set_conds(*told())
    latents = torch.ones(FRAMES, 4, ROWS, COLUMNS)
    with pytest.raises(ConfigError, match="'freeinit' begins with noise; give it empty latents, without a mask"):
        guider.sample(torch.randn(latents.shape), latents, ComfySampler(Euler(), FreeInit()), karras(2), seed=1)


def test_a_function_after_guidance_is_asked_about_the_frames_of_the_step():
    args = {"cond_denoised": torch.full((3, 1, 1, 1), 2.0), "uncond_denoised": torch.ones(3, 1, 1, 1), "uncond": [1]}
    args |= {"sigma": torch.tensor([5.0] * 3), "model_options": {"transformer_options": {"sample_sigmas": karras(4)}}}
    made = FramewiseGuidance(LinearGuidance(min=1, max=3), TRAINED)(args)
    assert made.flatten().tolist() == [2.0, 3.0, 4.0]
