"""The truth that a clip tells of every frame: places, velocities, flow and colours agree with each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longtake.plugins.proving.clips import BUCKETS, KINDS, draw_clip
from longtake.plugins.proving.truth import truth_of
from longtake.plugins.proving.worlds import SIDE

kinds = st.sampled_from(KINDS)


@given(seed=st.integers(0, 100_000), kind=kinds, bucket=st.floats(*BUCKETS), fps=st.integers(5, 10))
@settings(max_examples=30)
def test_velocities_are_those_of_the_path_and_as_fast_as_the_clip_is_told(seed, kind, bucket, fps):
    clip = draw_clip(seed, kind, bucket, fps)
    truth = truth_of(clip, 9)
    # The trapezoid rule is exact where things go straight, and nearly so on a circle.
    walked = (truth.velocities_FN2[1:] + truth.velocities_FN2[:-1]) / 2
    np.testing.assert_allclose(walked, np.diff(truth.positions_FN2, axis=0), atol=5e-3)
    np.testing.assert_allclose(np.linalg.norm(truth.velocities_FN2, axis=-1), clip.speed, rtol=1e-6)


@given(seed=st.integers(0, 100_000), kind=kinds)
@settings(max_examples=20)
def test_the_flow_is_nowhere_but_in_what_moves_and_as_fast_as_it(seed, kind):
    clip = draw_clip(seed, kind)
    truth = truth_of(clip, 3, size=64)
    lengths = np.linalg.norm(truth.flow_FHW2, axis=-1)
    if kind == "pan":
        np.testing.assert_allclose(lengths, clip.speed)
    elif kind in ("comet", "orbit", "two"):
        assert (lengths > 0).mean() < 0.5
        # An orbit's flow turns about its centre: the outer edge of a comet is faster than its middle.
        assert np.median(lengths[lengths > 0]) == pytest.approx(clip.speed, rel=0.5)


@given(seed=st.integers(0, 100_000), kind=kinds, frames=st.integers(1, 12))
@settings(max_examples=20)
def test_the_two_colours_mix_to_the_mean_of_the_picture(seed, kind, frames):
    truth = truth_of(draw_clip(seed, kind), frames)
    share = truth.things_FHW.mean((1, 2))[:, None]
    mixed = share * truth.colours_F3 + (1 - share) * truth.grounds_F3
    np.testing.assert_allclose(mixed, truth.frames_FHW3.mean((1, 2)), atol=1e-9)


def test_a_comet_is_of_its_colour_and_stays_so():
    clip = draw_clip(3, "comet")
    truth = truth_of(clip, 20)
    # Where a tail is thin, the background shines through.
    np.testing.assert_allclose(truth.colours_F3, np.broadcast_to(clip.world.body.colour, (20, 3)), atol=0.25)
    assert np.abs(truth.colours_F3 - truth.colours_F3[0]).max() < 0.1
    assert truth.frames_FHW3.shape == (20, SIDE, SIDE, 3)
