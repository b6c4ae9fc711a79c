"""Decoding in overlapping chunks: exact with one chunk, near it with several, and never mixed up."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from longtake import decode
from longtake.core.decode import to_pictures


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


@given(frames=st.integers(1, 20), chunk=st.integers(1, 24))
@settings(max_examples=12)
def test_with_enough_overlap_chunks_equal_the_whole(tiny_model, frames, chunk):
    chunks = list(decode(tiny_model, latents(frames), chunk=chunk, overlap=frames))
    assert [len(each) for each in chunks[:-1]] == [chunk] * (len(chunks) - 1)
    difference = np.concatenate(chunks).astype(int) - whole(tiny_model, latents(frames))
    assert np.abs(difference).max() <= 1  # of 255: the last bit of a sum in another order


def test_more_overlap_comes_nearer_to_the_whole(tiny_model):
    truth = whole(tiny_model, latents(16)).astype(int)
    errors = [
        np.abs(np.concatenate(list(decode(tiny_model, latents(16), chunk=4, overlap=overlap))) - truth).mean()
        for overlap in (0, 2, 4, 12)
    ]
    assert errors[0] > errors[1] > errors[2] >= errors[3]
    assert errors[0] > 1


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
