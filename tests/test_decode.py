"""Decoding in overlapping chunks: exact with one chunk, near it with several, and never mixed up."""

from __future__ import annotations

import re
from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import longtake.core.decoding.decode as decoding
from longtake import decode, load_model
from longtake.core.conditioning import precise_vae
from longtake.core.decoding.decode import Told, to_pictures
from longtake.core.decoding.frugal import decode_frugally
from longtake.core.decoding.overlap import settle_overlap
from longtake.core.engine import decoder, resample, resblock
from longtake.core.engine.blend import share_of_temporal
from longtake.core.engine.decode_memory import DecodePlan, DecodeWork, plan_decoding
from longtake.core.engine.decoder import DecoderEngine
from longtake.core.engine.moments import moments_of, normalise
from longtake.core.engine.resample import merged_kernel
from longtake.core.engine.resblock import temporal_conv
from longtake.core.engine.split import Split
from longtake.core.model import Model
from longtake.plugins.proving.cases import Case


def latents(frames: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(frames, 4, 3, 4, generator=torch.Generator().manual_seed(seed)) * 0.2


def whole(model, latents_FCYX) -> np.ndarray:
    return np.concatenate(list(decode(model, latents_FCYX, chunk=len(latents_FCYX))))


@pytest.mark.parametrize("frames", [1, 2, 9])
def test_one_chunk_equals_the_pipeline(tiny_model, frames):
    pipeline = tiny_model.pipeline
    with torch.no_grad():
        theirs = pipeline.decode_latents(latents(frames)[None], frames, decode_chunk_size=frames)
    theirs = pipeline.video_processor.postprocess_video(theirs, output_type="np")[0]
    assert np.array_equal(whole(tiny_model, latents(frames)), (theirs * 255).round().astype(np.uint8))


@given(frames=st.integers(1, 20), chunk=st.integers(1, 24), overlap=st.integers(0, 24))
@settings(max_examples=20)
def test_every_frame_comes_once_and_in_order(tiny_model, frames, chunk, overlap):
    chunks = list(decode(tiny_model, latents(frames), chunk=chunk, overlap=overlap))
    assert [len(each) for each in chunks[:-1]] == [chunk] * (len(chunks) - 1)
    difference = np.concatenate(chunks).astype(int) - whole(tiny_model, latents(frames))
    if chunk + overlap >= frames:
        assert not difference.any()
    elif overlap >= 4:
        assert np.abs(difference).mean() < 1  # of 255


def planned(model, latents_FCYX, budget: int, host: int = 0, **more) -> DecodePlan:
    frames, _, rows, columns = latents_FCYX.shape
    work = DecodeWork(model.facts.vae_channels, frames, rows, columns, 4, **more)
    plan = plan_decoding(work, budget, host, budget // 8)
    assert plan is not None
    return plan


def test_a_device_that_is_out_of_memory_decodes_fewer_frames_at_a_time(tiny_model, monkeypatch, caplog):
    run, told_runs, frames = DecoderEngine.run, [], latents(40)
    truth, all_of_them = whole(tiny_model, frames), planned(tiny_model, frames, 10**8)
    assert all_of_them.all_at_once

    def sometimes(self, latents_FCYX, split):
        if len(latents_FCYX) in (16, 20) and isinstance(split.merge, Told):
            told_runs.append(len(latents_FCYX))
        if len(latents_FCYX) == 40 or told_runs[-3:] == [16, 20, 20]:  # at once, and when two chunks are done
            told_runs.append(0)
            raise torch.OutOfMemoryError("no more")
        return run(self, latents_FCYX, split)

    monkeypatch.setattr(DecoderEngine, "run", sometimes)
    chunks = list(decode_frugally(tiny_model, frames, all_of_them))
    told = re.findall(r"out of memory while decoding; going on with about .*; (.*) at", caplog.text)
    assert told == ["all frames", "all frames", "12 frames", "6 frames"]
    assert [len(each) for each in chunks] == [12, 12, 6, 6, 4]  # nothing twice
    assert np.abs(np.concatenate(chunks).astype(int) - truth).mean() < 1
    monkeypatch.setattr(DecoderEngine, "run", Mock(side_effect=torch.OutOfMemoryError("never")))
    with pytest.raises(torch.OutOfMemoryError):
        list(decode_frugally(tiny_model, frames, all_of_them))


def test_states_in_the_hosts_memory_give_the_same_pictures_and_come_next_when_memory_is_out(
    tiny_model, monkeypatch, caplog
):
    run, frames, ways = DecoderEngine.run, latents(20), []

    def only_from_the_host(self, latents_FCYX, split):
        ways.append(split.bring_to)
        if split.bring_to is None:
            raise torch.OutOfMemoryError("no more")
        return run(self, latents_FCYX, split)

    truth, plan = whole(tiny_model, frames), planned(tiny_model, frames, 10**8, host=10**9)
    monkeypatch.setattr(DecoderEngine, "run", only_from_the_host)
    chunks = np.concatenate(list(decode_frugally(tiny_model, frames, plan)))
    assert ways[-1] is not None
    assert re.search(r"[KM]iB in the host's memory, chunks", caplog.text)
    assert caplog.text.rstrip().endswith("all frames at once")
    assert np.abs(chunks.astype(int) - truth).max() <= 1


def off(model, latents_FCYX, plan) -> float:
    """Return how far decoding by a plan is off from decoding all frames at once, of a range of 1."""
    made = np.concatenate(list(decode_frugally(model, latents_FCYX, plan))).astype(int)
    return np.abs(made - whole(model, latents_FCYX)).max() / 255


def test_the_overlap_is_as_wide_as_the_decoder_needs(tiny_model, caplog):
    frames = latents(40)
    plan = planned(tiny_model, frames, 10**6)
    assert not plan.all_at_once
    settled = settle_overlap(tiny_model, frames, plan)
    assert settled.work.overlap > plan.work.overlap
    assert settled.peak <= plan.budget
    said = re.search(r"decoding \d+ frames at a time, with \d+ more .* is off by up to ([\d.e-]+)", caplog.text)
    both = (replace(each, work=replace(each.work, settled=True)) for each in (settled, plan))
    near, far = (off(tiny_model, frames, each) for each in both)
    assert near < far / 2
    assert near < (1.5 * float(said[1]) if said else 1e-3) + 0.5 / 255


def test_an_overlap_that_was_asked_for_stays_and_what_is_better_is_said(tiny_model, caplog):
    frames = latents(40)
    plan = planned(tiny_model, frames, 10**6, overlap=1, settled=True)
    assert settle_overlap(tiny_model, frames, plan) is plan
    assert re.search(
        r"decoding \d+ frames at a time, with 1 more on each side, is off by up to 0\.\d+ from decoding all at once, "
        r"on a piece of this video; with --decode-overlap \d+ it would be (off by|within) 0",
        caplog.text,
    )


def test_the_embedded_decoder_needs_no_more_than_usual(caplog):
    model, frames = load_model(), torch.randn(60, 8, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.2
    plan = planned(model, frames, 5 * 10**6)
    assert not plan.all_at_once
    assert settle_overlap(model, frames, plan).work.overlap == 4
    assert not caplog.text


def test_memory_that_runs_out_while_the_overlap_is_tried_loses_nothing(tiny_model, monkeypatch):
    frames, run = latents(40), DecoderEngine.run
    plan = planned(tiny_model, frames, 10**6)

    def not_of_pieces(self, latents_FCYX, split):
        if split.bring_to is not None:
            raise torch.OutOfMemoryError("no more")
        return run(self, latents_FCYX, split)

    monkeypatch.setattr(DecoderEngine, "run", not_of_pieces)
    assert settle_overlap(tiny_model, frames, plan) is plan
    assert sum(map(len, decode_frugally(tiny_model, frames, plan))) == 40
    monkeypatch.setattr(DecoderEngine, "run", Mock(side_effect=RuntimeError("something else")))
    with pytest.raises(RuntimeError, match="something else"):
        settle_overlap(tiny_model, frames, plan)


def test_more_overlap_comes_nearer_to_the_whole(tiny_model):
    truth = whole(tiny_model, latents(16)).astype(int)
    errors = [
        np.abs(np.concatenate(list(decode(tiny_model, latents(16), chunk=4, overlap=overlap))) - truth).mean()
        for overlap in (0, 1, 2, 4)
    ]
    assert errors[0] > errors[1] > errors[2] >= errors[3]
    assert errors[0] > 1


@pytest.mark.parametrize("kind", ["pan", "two"])
@pytest.mark.parametrize("chunk", [8, 14])
def test_the_default_overlap_is_within_a_thousandth_of_the_whole(kind, chunk, monkeypatch):
    """On the embedded decoder, which is trained; pictures as they are before they are rounded to 8 bits."""
    model, clip = load_model(), Case(kind, 0, 33).clip()
    pixels = torch.from_numpy(clip.render(33)).float().permute(0, 3, 1, 2) * 2 - 1
    with torch.no_grad():
        latents_FCYX = model.pipeline.vae.encode(pixels).latent_dist.mode() * model.pipeline.vae.config.scaling_factor
    monkeypatch.setattr(decoding, "to_pictures", lambda decoded: decoded.numpy() / 2 + 0.5)
    near, far, truth = (
        np.concatenate(list(decode(model, latents_FCYX, chunk=each, **overlap)))
        for each, overlap in ((chunk, {}), (chunk, {"overlap": 0}), (33, {}))
    )
    assert np.abs(near - truth).max() < 1e-3
    assert np.abs(far - truth).max() > 1e-3


@pytest.mark.parametrize(("chunk", "overlap"), [(0, 4), (-1, 4), (3, -1)])
def test_impossible_chunks_are_refused_with_both_numbers(tiny_model, chunk, overlap):
    with pytest.raises(ValueError, match=f"chunk={chunk} with overlap={overlap}"):
        list(decode(tiny_model, latents(2), chunk=chunk, overlap=overlap))


@given(value=st.floats(-3, 3))
def test_pictures_are_clipped_and_rounded(value):
    picture = to_pictures(torch.full((1, 3, 2, 2), value))
    assert picture.dtype == np.uint8
    assert picture.shape == (1, 2, 2, 3)
    assert abs(picture[0, 0, 0, 0] - min(max(value / 2 + 0.5, 0), 1) * 255) <= 0.5001


@pytest.fixture(scope="module")
def vae(make_pipeline):
    vae = make_pipeline().vae.double()
    for number, module in enumerate(module for module in vae.modules() if hasattr(module, "mix_factor")):
        module.mix_factor.data.fill_(0.3 - 0.2 * number)  # at 0 both parts of a blend would be alike
    return vae


@given(
    frames=st.integers(1, 7),
    rows=st.integers(2, 5),
    columns=st.integers(2, 5),
    workspace=st.none() | st.integers(1, 300_000),
    way=st.sampled_from([{}, {"keep": False}, {"keep": False, "bring_to": torch.device("cpu")}]),
)
@settings(max_examples=15)
@torch.no_grad()
def test_the_decoder_equals_diffusers_however_the_work_is_split(vae, frames, rows, columns, workspace, way):
    latents = torch.randn(frames, 4, rows, columns, dtype=torch.float64)
    stock = vae.decode(latents, num_frames=frames).sample
    torch.testing.assert_close(DecoderEngine(vae).run(latents, Split(workspace, **way)), stock, atol=1e-11, rtol=0)


def wrong_normalise(states, moments, norm, plus=None):
    return normalise(states, moments._replace(total=moments.total + 1), norm, plus)


def wrong_frames(states, groups, plus=None):
    return moments_of(states[:1], groups, plus)


def wrong_conv(conv, states, *more, biased=True):
    return temporal_conv(conv, states.flip(0), *more, biased=biased)


@pytest.mark.parametrize(
    ("where", "name", "wrong"),
    [
        (resample, "merged_kernel", lambda weight: merged_kernel(weight.flip(2))),
        (resblock, "share_of_temporal", lambda mixer: 1 - share_of_temporal(mixer)),
        (resblock, "normalise", wrong_normalise),
        (resblock, "moments_of", wrong_frames),
        (resblock, "temporal_conv", wrong_conv),
        (decoder, "temporal_conv", wrong_conv),
    ],
)
@torch.no_grad()
def test_the_proof_fails_where_a_piece_of_the_decoder_is_wrong(vae, monkeypatch, where, name, wrong):
    latents = torch.randn(5, 4, 3, 4, dtype=torch.float64)
    stock = vae.decode(latents, num_frames=5).sample
    assert (DecoderEngine(vae).run(latents, Split(40_000)) - stock).abs().max() < 1e-11
    monkeypatch.setattr(where, name, wrong)
    assert (DecoderEngine(vae).run(latents, Split(40_000)) - stock).abs().max() > 1e-8


@torch.no_grad()
def test_a_decoder_with_more_layers_pairs_its_blocks_as_diffusers_does():
    from diffusers import AutoencoderKLTemporalDecoder

    torch.manual_seed(0)
    vae = AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 64), down_block_types=("DownEncoderBlock2D",) * 2, layers_per_block=3, latent_channels=4
    ).double()
    latents = torch.randn(3, 4, 4, 5, dtype=torch.float64)
    stock = vae.decode(latents, num_frames=3).sample
    torch.testing.assert_close(DecoderEngine(vae).run(latents, Split(40_000)), stock, atol=1e-11, rtol=0)


@pytest.mark.parametrize(
    ("dtype", "asks", "within"),
    [
        (torch.float16, True, torch.float32),
        (torch.float16, False, torch.float16),
        (torch.bfloat16, True, torch.bfloat16),
        (torch.float32, True, torch.float32),
    ],
)
def test_a_vae_works_in_float32_only_where_it_overflows_and_asks_for_it(make_pipeline, dtype, asks, within):
    pipeline = make_pipeline()
    pipeline.vae.register_to_config(force_upcast=asks)
    model = Model.of(pipeline.to(dtype))
    before = {name: weight.clone() for name, weight in pipeline.vae.state_dict().items()}
    with precise_vae(model) as vae:
        assert {weight.dtype for weight in vae.parameters()} == {within}
    for name, weight in pipeline.vae.state_dict().items():
        assert weight.dtype == dtype
        assert torch.equal(weight, before[name])
