"""Context windows: the UNet sees a window at a time, and what it says of all is fused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from longtake import Span, generate, installed, read_facts, resolve
from longtake.core.budget.denoising import work_of
from longtake.core.config import load_config
from longtake.core.denoiser import Part
from longtake.core.errors import ConfigError
from longtake.core.manager import load_plugins
from longtake.plugins.context.looped import Looped
from longtake.plugins.context.predict import FusedDenoiser
from longtake.plugins.context.static import Static
from longtake.plugins.context.uniform import Uniform, shift_of

KINDS = (Static, Uniform, Looped)
SMALL = {"width": 32, "height": 24, "steps": 3, "seed": 3}
SVD_XT = read_facts("stabilityai/stable-video-diffusion-img2vid-xt")
REGISTRY = load_plugins(third_party=False).registry


@st.composite
def layouts(draw: st.DrawFn) -> tuple[int, int, int]:
    window = draw(st.integers(2, 40))
    return draw(st.integers(window + 1, 300)), window, draw(st.integers(1, window - 1))


def fused(strategy, span: Span, denoiser, images=None, scaling=1.0) -> FusedDenoiser:
    images = torch.zeros(1, span.frames, 1, 1, 1) if images is None else images
    return FusedDenoiser(denoiser, strategy, strategy.windows(span), span, images, scaling)


@pytest.mark.parametrize("kind", KINDS)
@given(layout=layouts(), step=st.integers(0, 70), seed=st.integers(0, 2**30))
def test_an_identity_in_the_windows_gives_the_video_back(kind, layout, step, seed):
    frames, window, overlap = layout
    span = Span(frames=frames, trained=2, step=step)
    strategy = kind(window=window, overlap=overlap)
    video = torch.randn(1, frames, 2, 1, 3, generator=torch.Generator().manual_seed(seed))
    same = fused(strategy, span, lambda latents, sigma, **_: latents)
    torch.testing.assert_close(same(video, 1.0), video, atol=1e-5, rtol=1e-5)


@given(layout=layouts(), step=st.integers(0, 70))
def test_windows_on_a_ring_are_evenly_spaced_and_overlap_as_asked_or_more(layout, step):
    frames, window, overlap = layout
    starts = Looped(window=window, overlap=overlap).windows(Span(frames=frames, trained=2, step=step)).starts
    gaps = np.diff([*starts, starts[0] + frames])
    assert gaps.sum() == frames
    assert gaps.max() <= window - overlap
    assert gaps.max() - gaps.min() <= 1


@given(steps=st.integers(0, 6), stride=st.integers(1, 64))
def test_the_shifts_of_a_power_of_two_of_steps_are_spread_evenly(steps, stride):
    count = 2**steps
    shifts = sorted(shift_of(step, stride) for step in range(count))
    assert shifts == [index * stride // count for index in range(count)]
    assert shift_of(0, stride) == 0
    assert shift_of(1, stride) == stride // 2


def test_uniform_windows_begin_elsewhere_in_each_step_but_keep_the_ends():
    strategy = Uniform(window=8, overlap=2)
    starts = [strategy.windows(Span(frames=30, trained=8, step=step)).starts for step in range(4)]
    # A stride of 6 moved by 0, 3, 1 and 4; the last window begins at 22. Instead of 21, too near to it, the gap from 15
    # is halved, and instead of 1, too near to 0, that to 7.
    assert starts == [[0, 6, 12, 18, 22], [0, 3, 9, 15, 18, 22], [0, 3, 7, 13, 19, 22], [0, 4, 10, 16, 22]]


@pytest.mark.parametrize("kind", [Uniform, Looped])
@given(layout=layouts(), step=st.integers(0, 70))
def test_windows_of_a_step_are_between_half_a_stride_and_a_stride_apart(kind, layout, step):
    """Nearer ones would cost a call of the UNet that says little new; farther ones share less than was asked for."""
    frames, window, overlap = layout
    stride, last = window - overlap, frames - window
    starts = kind(window=window, overlap=overlap).windows(Span(frames=frames, trained=2, step=step)).starts
    if kind is Looped:
        starts = [*starts, starts[0] + frames]
    else:
        assert (starts[0], starts[-1]) == (0, last)
    gaps = np.diff(starts)
    assert gaps.max() <= stride
    if kind is Looped or last >= stride / 2:
        assert gaps.min() >= stride / 2
    else:
        assert len(gaps) == 1  # the first and the last window have to be there


@given(layout=layouts(), first=st.integers(0, 70))
def test_uniform_windows_move_from_step_to_step(layout, first):
    """Where there is room for two windows between the first and the last, and for half a stride to move by."""
    frames, window, overlap = layout
    assume(window - overlap >= 4 and frames - window >= 3 * (window - overlap))
    strategy = Uniform(window=window, overlap=overlap)
    before, after = (strategy.windows(Span(frames=frames, trained=2, step=first + each)).starts for each in (0, 1))
    assert before != after


def test_uniform_windows_cost_as_many_calls_as_its_text_says():
    strategy = Uniform(window=25)
    counts = [len(strategy.windows(Span(frames=100, trained=25, step=step)).starts) for step in range(25)]
    assert len(Static(window=25).windows(Span(frames=100, trained=25)).starts) == 5
    assert round(np.mean(counts), 1) == 5.9


def test_a_part_that_keeps_its_places_has_the_codes_of_the_whole_video(tiny_model):
    """And one that counts from zero those of a video of its own."""
    with installed(tiny_model.pipeline.unet, REGISTRY.build("positional", "linear")) as seams:
        whole = seams.code(20, 32, torch.device("cpu"))
        alone = seams.code(6, 32, torch.device("cpu"))
        seams.whole = 20
        for first in (0, 5, 14):
            seams.part = Part(torch.arange(first, first + 6))
            torch.testing.assert_close(seams.code(6, 32, torch.device("cpu")), whole[first : first + 6])
            seams.part = Part(torch.arange(first, first + 6), local=True)
            torch.testing.assert_close(seams.code(6, 32, torch.device("cpu")), alone)
    assert not torch.allclose(alone, whole[:6])


def test_one_window_over_all_is_the_whole_video(tiny_model, picture, builtins):
    """Where windows are as long as the video there are none; a window one frame shorter changes something."""
    whole, same, other = (
        generate(picture, model=tiny_model, plugins=builtins, frames=9, **SMALL | more).latents
        for more in ({}, {"context": {"name": "static", "window": 9}}, {"context": {"name": "static", "window": 8}})
    )
    assert torch.equal(whole, same)
    assert not torch.allclose(whole, other)


def test_guidance_is_the_same_whether_it_is_fused_before_or_after(tiny_model, picture, builtins):
    """Each branch is fused by itself, and the scale of a frame is one number."""
    options = {"context": {"name": "static", "window": 4, "overlap": 2}, "frames": 7}
    unguided, guided = (
        generate(picture, model=tiny_model, plugins=builtins, **SMALL | options, guidance=guidance, positional="none")
        for guidance in ({"name": "constant", "scale": 1}, {"name": "constant", "scale": 3})
    )
    assert torch.isfinite(guided.latents).all()
    assert not torch.allclose(guided.latents, unguided.latents)


def test_a_fading_image_is_whole_in_the_trained_frames_and_half_after_its_reach():
    strategy, images = Static(image="faded", reach=2), torch.ones(29, 1, 1, 1)
    seen = strategy.image_latents(images, torch.arange(29), torch.zeros(29, 1, 1, 1), Span(frames=29, trained=5))
    assert seen[:5].flatten().tolist() == [1.0] * 5
    assert seen[14].item() == 0.5  # two trained lengths of 5 beyond the last trained frame, 4
    assert seen[24].item() == 0.25


def test_an_overlap_gives_a_window_its_first_frame_as_an_image():
    """Worked out by hand: the first window says 5 of each frame, so the second has 5 / 2 for an image, unscaled."""
    span, told = Span(frames=6, trained=4), []

    def denoiser(latents, sigma, *, conditional=True, part=None):
        told.append(part.image_latents_BFCYX.flatten().tolist())
        return torch.full_like(latents, 5.0)

    strategy = Static(window=4, overlap=2, image="overlap", positions="local")
    fused(strategy, span, denoiser, images=torch.ones(1, 6, 1, 1, 1), scaling=2.0)(torch.zeros(1, 6, 1, 1, 1), 1.0)
    assert told == [[1.0] * 4, [2.5] * 4]


def test_memory_is_planned_for_a_window():
    def seen(**asked):
        asked = {"frames": 1000, "dtype": "float16", "device": "cpu", "model": SVD_XT.name} | asked
        return work_of(resolve(load_config(asked, REGISTRY), SVD_XT, REGISTRY), SVD_XT).frames

    assert seen() == 1000
    assert seen(context="static") == 25
    assert seen(context={"name": "looped", "window": 40}) == 40


def test_windows_that_count_from_zero_need_nothing_stretched():
    def chosen(**asked):
        config = resolve(load_config({"frames": 100, "model": SVD_XT.name} | asked, REGISTRY), SVD_XT, REGISTRY)
        return config.positional.name, config.motion.name, config.reuse

    assert chosen(context="static") == ("linear", "compensated", 1)
    assert chosen(context={"name": "static", "positions": "local"}) == ("none", "constant", 1)
    assert chosen(context="static", speed="draft")[2] == 1


@pytest.mark.parametrize("options", [{"window": 4, "overlap": 4}, {"window": 4, "overlap": 9}])
def test_an_overlap_as_long_as_the_window_is_refused_with_both_numbers(options):
    with pytest.raises(ValidationError, match=rf"overlap={options['overlap']} with window=4"):
        Static(**options)
    with pytest.raises(ConfigError, match="overlap must be less than the window, got overlap=14 with window=14"):
        Static(overlap=14).windows(Span(frames=30, trained=14))


def test_features_of_another_window_are_not_used_again():
    with pytest.raises(ConfigError, match="reuse=2 takes features of an earlier step, but context 'uniform'"):
        resolve(
            load_config({"frames": 100, "model": SVD_XT.name, "context": "uniform", "reuse": 2}, REGISTRY),
            SVD_XT,
            REGISTRY,
        )
