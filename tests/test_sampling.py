"""Sampling: chunk by chunk and again and again, with the loop that everything else uses."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from longtake import Span, generate, read_facts, resolve
from longtake.core.budget.denoising import work_of
from longtake.core.conditioning import end_ramp
from longtake.core.config import load_config
from longtake.core.denoiser import Part
from longtake.core.errors import ConfigError
from longtake.core.manager import load_plugins
from longtake.plugins.sampling.chain import Chain, Holding, matched
from longtake.plugins.sampling.freeinit import FreeInit

SMALL = {"width": 32, "height": 24, "steps": 3, "seed": 3}
REGISTRY = load_plugins(third_party=False).registry
SVD_XT = read_facts("stabilityai/stable-video-diffusion-img2vid-xt")
FILTERS = ("butterworth", "gaussian", "ideal", "box")


@pytest.fixture
def run(tiny_model, picture, builtins):
    def run(image=picture, **options):
        return generate(image, model=tiny_model, plugins=builtins, **SMALL | options)

    return run


@given(frames=st.integers(1, 400), chunk=st.integers(2, 40), data=st.data())
def test_chunks_cover_the_video_and_share_at_least_what_is_asked_for(frames, chunk, data):
    overlap = data.draw(st.integers(1, chunk - 1))
    strategy, span = Chain(chunk=chunk, overlap=overlap), Span(frames=frames, trained=14)
    starts, size = strategy.starts(span), strategy.seen(span)
    assert starts[0] == 0
    assert starts[-1] + size == frames
    assert all(0 < later - earlier <= max(1, size - overlap) for earlier, later in pairwise(starts))
    assert strategy.frames_denoised(span) == len(starts) * size


def test_a_chunk_as_long_as_the_video_is_the_video(run):
    joint = run(frames=4)
    assert torch.equal(run(frames=4, sampling="chain").latents, joint.latents)
    assert torch.equal(run(frames=9, sampling={"name": "chain", "chunk": 9}, positional="ntk").latents,
                       run(frames=9, positional="ntk").latents)  # fmt: skip


@pytest.mark.parametrize("carry", ["kept", "renoised", "image"])
def test_a_chain_begins_as_its_first_chunk_does(run, carry):
    chained = run(frames=9, sampling={"name": "chain", "overlap": 1, "carry": carry})
    assert torch.equal(chained.latents[:4], run(frames=9, sampling={"name": "chain", "overlap": 1}).latents[:4])
    assert torch.isfinite(chained.latents).all()
    assert chained.frames.shape == (9, 24, 32, 3)
    again = run(frames=9, sampling={"name": "chain", "overlap": 1, "carry": carry})
    assert np.array_equal(chained.frames, again.frames)


def test_a_strategy_is_asked_about_a_chunk_alone(run):
    """Two chunks of twice the trained length: positions are stretched by two, whatever the length of the video."""
    options = {"sampling": {"name": "chain", "chunk": 8, "overlap": 2}, "frames": 14, "positional": "linear"}
    stretched = run(**options)
    fixed = run(**options | {"positional": {"name": "linear", "factor": 2}})
    torch.testing.assert_close(stretched.latents, fixed.latents)
    assert not torch.allclose(stretched.latents, run(**options | {"positional": "none"}).latents)


def test_known_frames_are_seen_at_each_sigma_and_come_out_as_they_are():
    known, noise, seen = torch.full((1, 2, 1, 1, 1), 7.0), torch.full((1, 2, 1, 1, 1), 0.5), []

    def denoiser(latents, sigma, *, conditional=True, part=None):
        seen.append(latents.flatten().tolist())
        return torch.zeros_like(latents)

    made = Holding(denoiser, known, noise)(torch.full((1, 4, 1, 1, 1), -1.0), 10.0)
    assert seen == [[12.0, 12.0, -1.0, -1.0]]  # 7 + 10 · 0.5
    assert made.flatten().tolist() == [7.0, 7.0, 0.0, 0.0]


def test_known_frames_are_known_in_every_window_that_has_them():
    """Frames 0 and 1 are known: of a window of 3, 0, 1, 4 the two in the middle."""
    known = torch.tensor([5.0, 6.0]).reshape(1, 2, 1, 1, 1)
    holding = Holding(lambda latents, sigma, **_: torch.zeros_like(latents), known, torch.zeros_like(known))
    made = holding(torch.full((1, 4, 1, 1, 1), -1.0), 1.0, part=Part(torch.tensor([3, 0, 1, 4])))
    assert made.flatten().tolist() == [0, 5, 6, 0]
    assert holding(torch.zeros(1, 2, 1, 1, 1), 1.0, part=Part(torch.tensor([2, 3]))).flatten().tolist() == [0, 0]


def test_chunks_of_windows_share_what_they_share(run):
    options = {"sampling": {"name": "chain", "chunk": 8, "overlap": 3}, "context": {"name": "static", "window": 5}}
    made = run(frames=13, **options)
    assert torch.equal(made.latents[:8], run(frames=8, **options).latents)
    assert torch.isfinite(made.latents).all()


def test_fresh_noise_is_the_same_for_both_branches_of_a_step():
    drawn, seen = iter(range(1, 9)), []

    def denoiser(latents, sigma, *, conditional=True, part=None):
        seen.append(latents.flatten().tolist()[0])
        return latents

    known = torch.zeros(1, 1, 1, 1, 1)
    holding = Holding(denoiser, known, known, fresh=lambda like: torch.full_like(like, next(drawn)))
    for sigma in (4.0, 4.0, 2.0, 2.0):
        holding(torch.zeros(1, 3, 1, 1, 1), sigma)
    assert seen == [4.0, 4.0, 4.0, 4.0]  # 4 · 1 twice, then 2 · 2 twice


@given(strength=st.floats(0.01, 1), seed=st.integers(0, 2**30))
def test_matching_moves_mean_and_contrast_towards_the_reference_ever_more(strength, seed):
    generator = torch.Generator().manual_seed(seed)
    latents = 3 + 2 * torch.randn(1, 12, 4, 6, 8, generator=generator)
    reference = torch.randn(1, 4, 6, 8, generator=generator)
    near = matched(latents, reference, strength)
    # No jump where the frames go on from others: a frame is moved as far as its place says.
    full = matched(latents, reference, 1.0)[:, -1] - latents[:, -1]
    torch.testing.assert_close(near[:, -1] - latents[:, -1], strength * full, atol=1e-4, rtol=1e-4)
    moved = (near - latents).abs().mean((2, 3, 4))[0] / (matched(latents, reference, 1.0) - latents).abs().mean(
        (2, 3, 4)
    )[0]
    torch.testing.assert_close(moved, torch.full((12,), strength), atol=1e-4, rtol=1e-3)
    means = near.mean((0, 3, 4))  # of each frame and channel
    wanted = reference.mean((0, 2, 3))
    torch.testing.assert_close(matched(latents, reference, 0.0), latents)
    assert ((means[-1] - wanted).abs() <= (latents.mean((0, 3, 4))[-1] - wanted).abs() + 1e-4).all()


def test_one_iteration_of_freeinit_is_nothing_and_more_are_something(run):
    joint = run(frames=7)
    assert torch.equal(run(frames=7, sampling={"name": "freeinit", "iterations": 1}).latents, joint.latents)
    more = run(frames=7, sampling={"name": "freeinit", "iterations": 2, "sigma": 3})
    assert not torch.allclose(more.latents, joint.latents)
    assert torch.isfinite(more.latents).all()


@pytest.mark.parametrize("kind", FILTERS)
@given(frames=st.integers(1, 30), rows=st.integers(1, 20), columns=st.integers(1, 20))
def test_a_low_pass_keeps_the_mean_falls_with_the_frequency_and_is_symmetric(kind, frames, rows, columns):
    low = FreeInit(filter=kind).low_pass(frames, rows, columns)
    assert low.shape == (frames, rows, columns)
    assert low[0, 0, 0] == 1
    assert low.min() >= 0
    assert (low[0, 0, : columns // 2 + 1].diff() <= 1e-6).all()
    torch.testing.assert_close(low, low.flip(0, 1, 2).roll((1, 1, 1), (0, 1, 2)))


def test_filters_worked_out_by_hand():
    # 8 columns: frequencies 0, 1/4, 1/2, 3/4, 1 (negative) of the highest; cut-off 1/4.
    def over_columns(kind, **options):
        return FreeInit(filter=kind, **options).low_pass(1, 1, 8)[0, 0]

    assert over_columns("butterworth")[1].item() == 0.5
    assert over_columns("butterworth")[2].item() == pytest.approx(1 / (1 + 2**8))  # (d / 0.25)² = 4, to the 4th
    assert over_columns("gaussian")[2].item() == pytest.approx(math.exp(-2))
    assert over_columns("ideal").tolist() == over_columns("box").tolist() == [1, 1, 0, 0, 0, 0, 0, 1]
    # A cut-off over time twice that over space lets twice the frequency through.
    half = FreeInit(time=0.5, space=0.25)
    assert half.low_pass(8, 1, 1)[2, 0, 0].item() == 0.5
    # On the diagonal of a box both count by themselves, in a ball together.
    assert FreeInit(filter="box").low_pass(1, 8, 8)[0, 1, 1] == 1
    assert FreeInit(filter="ideal").low_pass(1, 8, 8)[0, 1, 1] == 0


@pytest.mark.parametrize("kind", FILTERS)
@given(frames=st.integers(1, 12), rows=st.integers(1, 9), columns=st.integers(1, 9), seed=st.integers(0, 2**30))
def test_mixing_noise_with_itself_changes_nothing(kind, frames, rows, columns, seed):
    noise = torch.randn(1, frames, 2, rows, columns, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(FreeInit(filter=kind).mixed(noise, noise), noise, atol=1e-5, rtol=1e-5)


def test_a_result_that_is_mixed_in_gives_its_mean_and_nothing_fine():
    generator = torch.Generator().manual_seed(0)
    low, high = torch.randn(2, 1, 16, 4, 16, 16, generator=generator)
    mixed = FreeInit(filter="ideal").mixed(low, high)
    torch.testing.assert_close(mixed.mean((1, 3, 4)), low.mean((1, 3, 4)), atol=1e-5, rtol=1e-4)
    # A ball of a quarter of the highest frequency holds about one part in a hundred of all.
    assert torch.corrcoef(torch.stack([mixed.flatten(), high.flatten()]))[0, 1] > 0.97


def test_memory_is_planned_for_a_chunk():
    def seen(**asked):
        asked = {"frames": 1000, "dtype": "float16", "device": "cpu", "model": SVD_XT.name} | asked
        return work_of(resolve(load_config(asked, REGISTRY), SVD_XT, REGISTRY), SVD_XT).frames

    assert seen(sampling="chain") == 25
    assert seen(sampling={"name": "chain", "chunk": 50}, context="static") == 25
    assert seen(sampling="freeinit") == 1000


@pytest.mark.parametrize("options", [{"chunk": 4, "overlap": 4}, {"chunk": 4, "overlap": 9}])
def test_an_overlap_as_long_as_the_chunk_is_refused_with_both_numbers(options):
    with pytest.raises(ValidationError, match=rf"overlap={options['overlap']} with chunk=4"):
        Chain(**options)
    with pytest.raises(ConfigError, match="overlap must be less than the chunk, got overlap=14 with chunk=14"):
        Chain(overlap=14).starts(Span(frames=30, trained=14))


@given(frames=st.integers(2, 200), data=st.data())
def test_an_end_image_comes_in_over_the_last_frames(frames, data):
    coming = data.draw(st.integers(1, frames))
    ramp = end_ramp(frames, coming)
    assert ramp[-1] == 1
    assert (ramp > 0).sum() == coming
    torch.testing.assert_close(ramp[frames - coming :], torch.arange(1, coming + 1) / coming)


def test_an_end_image_changes_what_the_last_frames_see(run, tmp_path, picture):
    from PIL import ImageOps

    ImageOps.invert(picture).save(tmp_path / "end.png")
    plain = run(frames=6)
    going = run(frames=6, end_image=str(tmp_path / "end.png"), end_frames=2)
    assert not torch.allclose(plain.latents, going.latents)
    chained = run(frames=9, sampling="chain", end_image=str(tmp_path / "end.png"), end_frames=2)
    alone = run(frames=9, sampling="chain", end_image=str(tmp_path / "end.png"), end_frames=3)
    assert not torch.allclose(chained.latents[-1], alone.latents[-1])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"end_frames": 3}, "end_frames=3 is how long an end image comes in; name one"),
        ({"end_image": "example", "end_frames": 30}, "end_frames=30 is more than the 28 frames"),
        ({"loop": True, "sampling": "chain"}, "a loop closes only where all frames are denoised together"),
        ({"loop": True, "end_image": "example"}, "has no end image"),
        ({"loop": True, "continues": "video.npy", "sampling": "chain"}, "does not end where that begins"),
        (
            {"end_image": "example", "context": {"name": "static", "image": "faded"}},
            "context.image='faded' takes the place",
        ),
        ({"loop": True, "frames": 20}, "a loop needs more frames than the 25"),
        ({"continues": "video.npy", "sampling": "freeinit"}, "sampling 'freeinit' cannot continue a video; name chain"),
        ({"continues": "video.npy", "frames": 6}, "6 frames are asked for, of which the first 6 are the last"),
    ],
)
def test_what_means_nothing_together_is_refused(asked, message):
    asked = {"frames": 28, "model": SVD_XT.name} | asked
    with pytest.raises(ConfigError, match=message):
        resolve(load_config(asked, REGISTRY), SVD_XT, REGISTRY)
