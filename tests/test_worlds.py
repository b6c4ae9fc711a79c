"""The worlds tell the truth, for ever; the measures find what is wrong with a video, and nothing wrong in the truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longtake.plugins.proving.cases import Case
from longtake.plugins.proving.clips import BUCKETS, KINDS, RATES, Clip, draw_clip
from longtake.plugins.proving.measures import score, travelled, visible
from longtake.plugins.proving.worlds import SIDE, WORLDS

seeds = st.integers(0, 2_000_000)
kinds = st.sampled_from(KINDS)
buckets = st.floats(*BUCKETS)
FRAMES = 28


def moved_pixels(video: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Return the brightness change that moving pixels bring about to first order: minus gradient times flow."""
    grey = video.mean(axis=-1)
    slope_y, slope_x = np.gradient(grey, axis=(1, 2))
    return -(slope_x * flow[..., 0] + slope_y * flow[..., 1])


@given(seed=seeds, kind=kinds, frames=st.integers(1, 5), size=st.sampled_from([16, 32, 64]))
def test_a_seed_is_one_clip(seed, kind, frames, size):
    clip = draw_clip(seed, kind)
    video = clip.world.render(clip.distances(frames), size)
    assert clip == draw_clip(seed, kind)
    assert video.shape == (frames, size, size, 3)
    assert video.min() >= 0
    assert video.max() <= 1
    np.testing.assert_array_equal(video, draw_clip(seed, kind).world.render(clip.distances(frames), size))


def test_worlds_take_turns():
    assert [draw_clip(seed).world.kind for seed in range(2 * len(KINDS))] == [*KINDS, *KINDS]
    assert set(WORLDS) == {"pan", "zoom", "orbit", "comet", "two"}


@given(seed=seeds, kind=kinds)
def test_what_a_clip_is_told_lies_in_the_trained_ranges(seed, kind):
    clip = draw_clip(seed, kind)
    assert BUCKETS[0] <= clip.motion_bucket <= BUCKETS[1]
    assert clip.fps in range(*RATES)
    assert clip.speed == pytest.approx(clip.motion_bucket / 100 * 7 / clip.fps)


@given(seed=seeds, kind=kinds, bucket=buckets, fps=st.integers(*RATES))
@settings(max_examples=30)
def test_pixels_move_as_the_truth_and_the_conditioning_say(seed, kind, bucket, fps):
    clip = draw_clip(seed, kind, bucket, fps)
    track = clip.world.follow(clip.render(FRAMES))
    asked = bucket / 100 * 7 / fps * np.arange(FRAMES)
    np.testing.assert_allclose(travelled(clip.world, track.path_FN2), asked, atol=0.8)
    seen = visible(clip.world, asked)
    np.testing.assert_allclose(track.path_FN2[seen], clip.world.path(asked)[seen], atol=1.6)
    assert track.presence_FN[seen].min() > 0.8
    assert track.presence_FN.max() < 1.3
    assert seen.all() or kind == "two"
    assert seen.any(axis=1).all()


@given(seed=seeds, kind=kinds, distance=st.floats(0, 5000))
@settings(max_examples=40)
def test_a_world_is_valid_for_ever(seed, kind, distance):
    """However far it has moved, everything is on the canvas, as much of it as at the beginning."""
    world = draw_clip(seed, kind).world
    start, later = world.render(np.array([0.0])), world.render(np.array([distance]))
    if kind in ("comet", "orbit"):
        cover = world.body.coverage if kind == "comet" else world.coverage
        assert cover(np.array([distance])).sum() == pytest.approx(cover(np.array([0.0])).sum(), rel=0.05)
    assert later.std() == pytest.approx(start.std(), rel=0.5)


@given(seed=seeds, kind=kinds)
@settings(max_examples=30)
def test_the_flow_is_how_the_pixels_change(seed, kind):
    world = draw_clip(seed, kind).world
    step, size = 0.05, 128
    video = world.render(np.array([0.0, step]), size)
    # In the colour that changes most: the sum of all three may hardly change.
    colour = int(np.abs(video[1] - video[0]).sum(axis=(0, 1)).argmax())
    video = video[..., colour : colour + 1]
    flow = world.flow(np.array([step / 2]), size)
    predicted = moved_pixels(video[:1], flow * step * size / SIDE)[0]
    changed = (video[1] - video[0]).mean(axis=-1)
    # Where something moves; its edges, where seen and hidden meet, belong to neither side.
    inside = np.abs(flow[0]).sum(-1) > 0
    correlation = np.corrcoef(predicted[inside], changed[inside])[0, 1]
    assert correlation > 0.8


def test_a_zoom_comes_back_after_its_period_and_an_orbit_after_its_circle():
    zoom, orbit = draw_clip(1, "zoom").world, draw_clip(1, "orbit").world
    period = np.log(4.0) * SIDE / 4
    np.testing.assert_allclose(zoom.render(np.array([0.0])), zoom.render(np.array([period])), atol=1e-9)
    circle = 2 * np.pi * orbit.radius
    np.testing.assert_allclose(orbit.render(np.array([0.0])), orbit.render(np.array([circle])), atol=1e-9)


def shown(clip: Clip, distances: np.ndarray) -> np.ndarray:
    return clip.world.render(distances)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [3, 8])
class TestMeasures:
    """Each measure on videos made by hand, good and bad."""

    @pytest.fixture
    def clip(self, kind, seed):
        return draw_clip(seed, kind, motion_bucket=60, fps=7)

    def test_the_truth_is_valid(self, clip):
        found = score(clip, clip.render(FRAMES))
        assert found.valid and found.valid_slowed
        assert found.speed == pytest.approx(1, abs=0.03)
        assert found.error < 0.5
        assert found.quarters == pytest.approx((1, 1, 1, 1), abs=0.1)
        assert (found.persistence, found.retreat, found.frozen) == (1, 0, 0)
        assert found.repetition == 0
        assert found.jump < 2.5
        assert found.seam is None
        assert max(found.identity) < 0.05
        assert max(found.background) < 0.01
        assert found.stray < 0.1
        assert found.flash < 0.03
        assert found.unevenness < 0.05
        assert found.sharpness == pytest.approx((1, 1, 1, 1), abs=0.05)

    def test_half_the_speed_is_valid_only_at_its_own(self, clip):
        found = score(clip, shown(clip, clip.distances(FRAMES) / 2))
        assert not found.valid
        assert found.valid_slowed
        assert found.speed == pytest.approx(0.5, abs=0.03)
        assert found.unevenness < 0.05

    def test_a_still_image_is_frozen_and_never_valid(self, clip):
        found = score(clip, shown(clip, np.zeros(FRAMES)))
        assert not found.valid
        assert not found.valid_slowed
        assert found.frozen == 1
        assert abs(found.speed) < 0.05
        assert found.jerk < 1e-6

    def test_going_back_is_retreat(self, clip):
        there = clip.distances(FRAMES)
        found = score(clip, shown(clip, np.minimum(there, there[-1] - there)))
        assert found.retreat > 0.9
        assert found.repetition == pytest.approx(0.45, abs=0.1)
        assert found.quarters[0] > 0.8
        assert found.quarters[3] < -0.8
        assert not found.valid_slowed

    def test_stopping_in_the_middle_is_seen_in_the_quarters(self, clip):
        found = score(clip, shown(clip, np.minimum(clip.distances(FRAMES), clip.speed * FRAMES / 2)))
        assert found.frozen == pytest.approx(0.5, abs=0.1)
        assert found.quarters[0] == pytest.approx(1, abs=0.1)
        assert found.quarters[3] == pytest.approx(0, abs=0.1)
        assert not found.valid

    def test_a_jump_at_a_border_is_a_seam(self, clip):
        there = clip.distances(FRAMES)
        there[FRAMES // 2 :] += 4
        found = score(clip, shown(clip, there), borders=[FRAMES // 2])
        assert found.jump > 4
        assert found.jump > 2 * score(clip, clip.render(FRAMES)).jump
        assert found.seam == pytest.approx(found.jump)
        assert score(clip, shown(clip, there), borders=[5, 20]).seam < 2.5
        assert score(clip, clip.render(FRAMES), borders=[FRAMES // 2]).seam < 2.5

    def test_a_loop_is_repetition(self, clip):
        there = clip.distances(FRAMES)
        found = score(clip, shown(clip, there[np.arange(FRAMES) % 10]))
        assert found.repetition > 0.4
        assert not found.valid
        assert not found.valid_slowed

    def test_trembling_is_jerk(self, clip):
        there = clip.distances(FRAMES) + 0.7 * (-1.0) ** np.arange(FRAMES)
        found = score(clip, shown(clip, there))
        assert found.jerk > 2
        assert found.jerk > 3 * score(clip, clip.render(FRAMES)).jerk

    def test_shuffled_frames_are_not_valid(self, clip):
        video = np.random.default_rng(0).permutation(clip.render(FRAMES))
        assert not score(clip, video).valid_slowed

    def test_drifting_colours_are_seen(self, clip):
        video = clip.render(FRAMES) + np.linspace(0, 0.3, FRAMES)[:, None, None, None] * np.array([1, 0.2, -1])
        found = score(clip, video.clip(0, 1))
        assert found.identity[0] < found.identity[3]
        assert found.identity[3] > 0.1
        assert found.background[3] > 0.1
        assert not found.valid_slowed

    def test_blur_is_less_sharpness(self, clip):
        video = clip.render(FRAMES)
        for axis in (1, 2, 1, 2):
            video = (np.roll(video, 1, axis) + video + np.roll(video, -1, axis)) / 3
        assert max(score(clip, video).sharpness) < 0.9

    def test_fading_away_is_no_persistence(self, clip):
        video = clip.render(FRAMES)
        ground = video.mean(axis=(1, 2), keepdims=True)
        video[FRAMES // 2 :] = ground[FRAMES // 2 :]
        found = score(clip, video)
        assert found.persistence <= 0.6
        assert not found.valid


@pytest.mark.parametrize("kind", KINDS)
def test_drift_of_what_moves_and_of_what_lies_behind_are_told_apart(kind):
    clip = draw_clip(3, kind, motion_bucket=60, fps=7)
    cover = clip.world.things(clip.distances(FRAMES))[..., None]
    truth = clip.render(FRAMES)
    things = score(clip, truth * (1 - 0.3 * cover))
    behind = score(clip, truth * (1 - 0.3 * (1 - cover)))
    for quarter in range(4):
        assert things.identity[quarter] > 3 * things.background[quarter]
        assert behind.background[quarter] > 0.05
        assert behind.background[quarter] > 3 * things.background[quarter]


def blurred(video: np.ndarray) -> np.ndarray:
    for axis in (1, 2) * 10:
        video = (np.roll(video, 1, axis) + video + np.roll(video, -1, axis)) / 3
    return video


def bad_videos(clip: Clip, frames: int):
    """Yield videos by name, each wrong in one way, as slow as the clips of a table."""
    world, way, number = clip.world, clip.distances(frames), np.arange(frames)
    true, whole = clip.render(frames), way[-1]
    things, mean = world.things(way)[..., None], true.mean(axis=(1, 2), keepdims=True)
    yield "still", world.render(0 * way)
    yield "held for two frames each", true[number // 2 * 2]
    yield "too fast, then back", world.render(np.where(1.45 * way < 1.1 * whole, 1.45 * way, 2.2 * whole - 1.45 * way))
    yield "still in the last third", world.render(np.minimum(way, 2 / 3 * whole))
    yield "still in the first third", world.render(np.maximum(way - whole / 3, 0))
    yield "trembling", world.render(way + 0.8 * (-1.0) ** number)
    yield "a third in a loop", world.render(way[number % (frames // 3)])
    yield "shuffled", np.random.default_rng(0).permutation(true)
    yield "blurred", blurred(true)
    yield "noisy", (true + np.random.default_rng(0).normal(0, 0.12, true.shape)).clip(0, 1)
    yield "losing contrast", mean + (true - mean) * np.linspace(1, 0.35, frames)[:, None, None, None]
    yield "drifting in colour", true + np.linspace(0, 0.3, frames)[:, None, None, None] * np.array([1, 0.2, -1])
    yield "erased", true * (1 - things) + mean * things
    flash, visitor = true.copy(), true.copy()
    flash[frames // 2] += 0.3
    yield "flashing", flash
    for corner in (slice(3, 9), slice(23, 29)):
        visitor[:, corner, corner] = 1 - visitor[:, corner, corner].round()
    yield "visited", visitor


@pytest.mark.parametrize("frames", [28, 56])
@pytest.mark.parametrize("kind", KINDS)
def test_at_the_speeds_of_a_table_the_truth_is_valid_and_nothing_else_is(kind, frames):
    for seed in range(3):
        clip = Case(kind, seed, frames).clip()
        assert score(clip, clip.render(frames)).valid
        half = score(clip, clip.world.render(clip.distances(frames) / 2))
        assert (half.valid, half.valid_slowed) == (False, True)
        passed = [
            name
            for name, video in bad_videos(clip, frames)
            for found in [score(clip, video)]
            if found.valid or found.valid_slowed
        ]
        assert passed == []


def test_two_swapped_comets_are_an_error():
    clip = draw_clip(4, "two", motion_bucket=60, fps=7)
    swapped = replace(clip.world, bodies=clip.world.bodies[::-1])
    recoloured = tuple(
        replace(body, colour=true.colour) for body, true in zip(swapped.bodies, clip.world.bodies, strict=True)
    )
    found = score(clip, replace(clip.world, bodies=recoloured).render(clip.distances(FRAMES)))
    assert found.error > 5
    assert not found.valid


def test_a_video_that_is_too_short_is_refused():
    clip = draw_clip(0)
    with pytest.raises(ValueError, match="at least 5 frames to be scored, got 4"):
        score(clip, clip.render(4))
