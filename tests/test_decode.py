"""Decoding in overlapping chunks: exact with one chunk, near it with several, and never mixed up."""

from __future__ import annotations

from unittest.mock import Mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import longtake.core.decode as decoding
from longtake import decode, load_model
from longtake.core.conditioning import precise_vae
from longtake.core.decode import Told, decode_frugally, to_pictures
from longtake.core.engine.decoder import DecoderEngine
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


def test_a_device_that_is_out_of_memory_decodes_fewer_frames_at_a_time(tiny_model, monkeypatch, caplog):
    run, sizes = DecoderEngine.run, []

    def sometimes(self, latents_FCYX, split):
        sizes.append(len(latents_FCYX))
        if len(latents_FCYX) > 13 and isinstance(split, Told) and sizes.count(16) > 4:
            raise torch.OutOfMemoryError("no more")
        return run(self, latents_FCYX, split)

    monkeypatch.setattr(DecoderEngine, "run", sometimes)
    frames = latents(40)
    chunks = list(decode_frugally(tiny_model, frames, chunk=8))
    assert "out of memory while decoding; going on with 4 frames at a time" in caplog.text
    assert [len(each) for each in chunks] == [8, 8, *[4] * 6]  # nothing twice
    difference = np.concatenate(chunks).astype(int) - whole(tiny_model, frames)
    assert np.abs(difference).mean() < 1
    monkeypatch.setattr(DecoderEngine, "run", Mock(side_effect=torch.OutOfMemoryError("never")))
    with pytest.raises(torch.OutOfMemoryError):
        list(decode_frugally(tiny_model, frames, chunk=8))


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
    return make_pipeline().vae.double()


@given(
    frames=st.integers(1, 7),
    rows=st.integers(2, 5),
    columns=st.integers(2, 5),
    workspace=st.none() | st.integers(1, 300_000),
    keep=st.booleans(),
)
@settings(max_examples=15)
@torch.no_grad()
def test_the_decoder_equals_diffusers_however_the_work_is_split(vae, frames, rows, columns, workspace, keep):
    latents = torch.randn(frames, 4, rows, columns, dtype=torch.float64)
    stock = vae.decode(latents, num_frames=frames).sample
    torch.testing.assert_close(DecoderEngine(vae).run(latents, Split(workspace, keep)), stock, atol=1e-11, rtol=0)


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
