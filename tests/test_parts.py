"""What names frames of the video means those frames, also where the video is made in parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from longtake import AttentionStrategy, Span, generate, installed, load_config, make_plan, read_facts, resolve
from longtake.core.course import Course
from longtake.core.denoiser import Part, UnetDenoiser
from longtake.core.manager import load_plugins
from longtake.plugins.sampling.chain import Chain
from longtake.schedules.keyframes import interpolate
from longtake.schedules.motion import Linear

REGISTRY = load_plugins(third_party=False).registry
SVD = read_facts("stabilityai/stable-video-diffusion-img2vid")


def planned(places: range | None = None, **asked):
    config = resolve(load_config({"seed": 1} | asked, REGISTRY), SVD, REGISTRY)
    return make_plan(config, SVD, places=places)


@given(frames=st.integers(1, 60), data=st.data())
def test_a_part_of_a_part_knows_its_places_in_the_video(frames, data):
    span = Span(frames=frames, trained=14)
    first = data.draw(st.lists(st.integers(0, frames - 1), min_size=1))
    inner = data.draw(st.lists(st.integers(0, len(first) - 1), min_size=1))
    part = span.part(torch.tensor(first)).part(torch.tensor(inner))
    assert part.frames == len(inner)
    assert part.numbers_F.tolist() == [first[each] for each in inner]
    assert part.frames_of_video == span.frames_of_video == frames
    assert span.numbers_F.tolist() == list(range(frames))


@given(frames=st.integers(2, 60), data=st.data())
def test_schedules_over_the_video_are_cut_and_do_not_begin_again(frames, data):
    start = data.draw(st.integers(0, frames - 1))
    places = torch.arange(start, data.draw(st.integers(start + 1, frames)))
    span = Span(frames=frames, trained=14)
    keys = {0: 1.0, frames // 2: 5.0, -1: 2.0} if frames > 2 else {0: 1.0, -1: 2.0}
    assert torch.equal(interpolate(keys, span.part(places), "x"), interpolate(keys, span, "x")[places])
    motion = Linear(last_bucket=200, last_fps=20)
    assert torch.equal(motion.buckets(20, span.part(places)), motion.buckets(20, span)[places])
    assert torch.equal(motion.rates(7, span.part(places)), motion.rates(7, span)[places])
    course = Course.of([1, 0.5, 2])
    assert torch.equal(course.at(span.part(places)), course.at(span)[places])


def test_the_chunks_of_a_chain_share_out_keyframes_and_are_guided_each_from_its_own_image():
    asked = {
        "frames": 35,
        "sampling": {"name": "chain", "overlap": 3},
        "guidance": {"name": "keyframes", "scale": {0: 1, 34: 35}},
        "motion": {"name": "keyframes", "bucket": {0: 0, -1: 34}},
    }
    starts = Chain(overlap=3).starts(Span(frames=35, trained=14))
    assert list(starts) == [0, 11, 21]
    for start in starts:
        chunk = planned(range(start, start + 14), **asked)
        assert chunk.frames == 14
        assert chunk.guidance_SF[0].tolist() == pytest.approx(list(range(start + 1, start + 15)))
        assert chunk.buckets_SF[0].tolist() == pytest.approx(list(range(start, start + 14)))
        plain = planned(range(start, start + 14), frames=35, sampling="chain")
        assert plain.guidance_SF[0].tolist() == pytest.approx(torch.linspace(1, 3, 14).tolist())


def test_a_chain_is_guided_where_keyframes_say_so(tiny_model, picture, builtins):
    small = {"frames": 9, "width": 32, "height": 24, "steps": 2, "seed": 1, "model": tiny_model, "plugins": builtins}
    small |= {"sampling": {"name": "chain", "overlap": 1}}
    plain = generate(picture, guidance={"name": "constant", "scale": 1}, **small)
    late = generate(picture, guidance={"name": "keyframes", "scale": {6: 1, 7: 4}}, **small)
    assert torch.equal(late.latents[:4], plain.latents[:4])  # the first chunk has no frame that is guided
    assert not torch.equal(late.latents[-2:], plain.latents[-2:])


class Recorder(AttentionStrategy):
    """Full attention that keeps what it is told."""

    name = "recorder"

    def attend(self, q_PNFD, k_PNFD, v_PNFD, span, scale):
        TOLD.append(span)
        return super().attend(q_PNFD, k_PNFD, v_PNFD, span, scale)


TOLD: list[Span] = []


def test_attention_is_told_which_frames_of_the_video_a_window_has(tiny_model):
    TOLD.clear()
    plan = planned(frames=9, width=256, height=256, steps=1)
    shape = (1, 3, 4, 4, 4)
    conditioning = type("Told", (), {
        "image_latents": lambda self, frames: torch.zeros(1, frames, 4, 4, 4),
        "embedding_B1C": torch.zeros(1, 1, tiny_model.pipeline.unet.config.cross_attention_dim),
        "noise_aug": 0.02,
    })()  # fmt: skip
    unet = tiny_model.pipeline.unet
    with torch.no_grad(), installed(unet, None, Recorder(), trained=4) as seams:
        denoiser = UnetDenoiser(unet, conditioning, plan, seams)
        denoiser(torch.zeros(shape), 5.0, part=Part(torch.tensor([7, 8, 0])))
    assert TOLD
    assert {(span.places, span.whole, span.frames) for span in TOLD} == {((7, 8, 0), 9, 3)}


def test_a_factor_over_the_frames_goes_over_the_windows_of_context(tiny_model, picture, builtins):
    """Values of nothing in the second half: windows that lie in the first half are as without the factor."""
    small = {"frames": 12, "width": 32, "height": 24, "steps": 1, "seed": 1, "model": tiny_model, "plugins": builtins}
    small |= {"context": {"name": "static", "window": 4, "overlap": 1}, "guidance": {"name": "constant", "scale": 1}}
    plain = generate(picture, attention="full", **small).latents
    course = [1] * 7 + [0] * 5
    scaled = generate(picture, attention={"name": "full", "value_scale": course}, **small).latents
    differs = (plain - scaled).abs().amax(dim=(1, 2, 3)).numpy() > 0
    assert np.flatnonzero(differs).tolist() == list(range(6, 12))  # windows begin at 0, 3, 6, 8
