"""The temporal code equals diffusers', and distances between positions are all that it says."""

from __future__ import annotations

import pytest
import torch
from diffusers.models.embeddings import Timesteps
from hypothesis import given
from hypothesis import strategies as st

from longtake.core.embedding import embed, trained_frequencies

channels = st.integers(1, 700).map(lambda half: 2 * half)


@given(channels=channels, frames=st.integers(1, 300))
def test_it_equals_diffusers_timesteps_bit_for_bit(channels, frames):
    positions = torch.arange(frames)
    assert torch.equal(embed(positions, trained_frequencies(channels)), Timesteps(channels, True, 0)(positions))


@given(channels=channels, position=st.floats(0, 2000))
def test_it_equals_diffusers_at_fractional_positions(channels, position):
    positions = torch.tensor([position])
    assert torch.equal(embed(positions, trained_frequencies(channels)), Timesteps(channels, True, 0)(positions))


@given(channels=channels, a=st.floats(-500, 500), b=st.floats(-500, 500), shift=st.floats(-50, 50))
def test_similarity_depends_on_distance_only(channels, a, b, shift):
    code = embed(torch.tensor([a, b, a + shift, b + shift]), trained_frequencies(channels)).double()
    torch.testing.assert_close(code[0] @ code[1], code[2] @ code[3], atol=1e-3 * channels, rtol=0)


@given(channels=channels)
def test_frequencies_fall_from_one_towards_the_longest_period(channels):
    frequencies = trained_frequencies(channels)
    assert frequencies[0] == 1
    assert (frequencies.diff() < 0).all()
    assert frequencies[-1] >= 1e-4


@pytest.mark.parametrize("wrong", [0, -2, 1, 321])
def test_odd_or_missing_channels_are_refused(wrong):
    with pytest.raises(ValueError, match=f"channels must be even and at least 2, got {wrong}"):
        trained_frequencies(wrong)
