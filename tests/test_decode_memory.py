"""How much decoding takes, and how it is split so that it fits: SVD's own decoder, on a device without numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from live import Flash, Live, blended

import longtake
from longtake.core.budget.decoding import describe_decoding, fit_decoding
from longtake.core.budget.denoising import work_of
from longtake.core.budget.devices import GIB
from longtake.core.engine.decode_memory import (
    FEWEST,
    WAYS,
    DecodePlan,
    DecodeWork,
    least_decoding,
    parts,
    plan_decoding,
    workspaces,
)
from longtake.core.engine.decoder import DecoderEngine
from longtake.core.engine.resample import merged_numbers
from longtake.core.engine.split import Split, Whole
from longtake.core.errors import ConfigError

MIB = 2**20
SVD = DecodeWork((128, 256, 512, 512), 100, 72, 128, 4)
FACTS = longtake.read_facts("stabilityai/stable-video-diffusion-img2vid-xt")
REGISTRY = longtake.load_plugins(third_party=False).registry


NOTHING = torch.empty((), device="meta")


class Nowhere(Whole):
    """States of all frames that take no memory of the device."""

    def _room(self, shape, like):
        return NOTHING.to(like.dtype).expand(shape)


class Elsewhere(Split):
    """Chunks that are brought from states which take no memory of the device."""

    def hold(self, frames, spent=None):
        return Nowhere(frames, None, torch.device("meta"))

    def bring(self, part):
        return torch.empty(part.shape, dtype=part.dtype, device="meta")


@pytest.fixture(scope="module")
def vae():
    from diffusers import AutoencoderKLTemporalDecoder

    with torch.device("meta"):
        vae = AutoencoderKLTemporalDecoder(
            block_out_channels=tuple(SVD.channels),
            down_block_types=("DownEncoderBlock2D",) * 4,
            layers_per_block=2,
            latent_channels=4,
        )
    return blended(vae)


def test_as_many_weights_are_counted_as_there_are(vae):
    assert sum(weights.numel() for weights in vae.parameters()) == FACTS.vae_parameters


@pytest.mark.parametrize(("keep", "on_host"), WAYS)
@pytest.mark.parametrize("frames", [1, 3])
def test_what_is_predicted_for_decoding_is_what_is_held(vae, frames, keep, on_host):
    work = replace(SVD, frames=frames)
    plan = DecodePlan(work, frames, workspaces(work, frames, on_host=on_host)[0], keep, on_host)
    engine = DecoderEngine(vae)
    kernels = [upsampler.kernel_IOKK for _, upsamplers in engine._levels for upsampler in upsamplers]
    assert sum(kernel.numel() for kernel in kernels) == merged_numbers(SVD.channels)
    with torch.device("meta"):
        latents = torch.empty(frames, 4, work.rows, work.columns)
    split = Elsewhere if on_host else Split
    bring_to = torch.device("meta") if on_host else None
    with Flash(), Live([*vae.parameters(), *kernels, latents, NOTHING]) as live:
        decoded = engine.run(latents, split(plan.workspace, keep, bring_to=bring_to))
    assert decoded.shape == (frames, 3, 576, 1024)
    # Over by less than a chunk: what is held and the largest chunk need not meet. Statistics of norms are not counted.
    assert live.most <= plan.peak + 4096
    assert plan.peak < live.most + workspaces(work, frames, on_host=on_host)[0]


works = st.builds(
    replace,
    st.just(SVD),
    frames=st.integers(1, 1200),
    rows=st.integers(8, 96),
    columns=st.integers(8, 160),
    number=st.sampled_from([2, 4]),
    weights=st.integers(0, GIB),
    overlap=st.integers(0, 9),
    ring=st.booleans(),
    asked=st.none() | st.integers(1, 40),
)


@given(works, st.floats(0.1, 100), st.floats(0, 100))
def test_a_plan_for_decoding_fits_and_more_room_is_never_worse(work, budget, host):
    plan, roomier = (
        plan_decoding(work, int(more * budget * GIB), int(more * host * GIB), 512 * MIB) for more in (1, 1.5)
    )
    if plan is None:
        assert least_decoding(work, on_host=False).peak > budget * GIB
        return
    assert plan.peak <= budget * GIB
    assert not plan.on_host or plan.held <= host * GIB
    assert plan.chunk == work.asked or plan.chunk >= min(FEWEST, work.frames)
    assert roomier is not None
    assert roomier.all_at_once or not plan.all_at_once
    assert roomier.chunk >= plan.chunk or plan.on_host


@given(works)
def test_all_at_once_is_what_one_part_is(work):
    plan = DecodePlan(work, work.asked or work.frames, 1, keep=False, on_host=False)
    each = parts(work.frames, plan.chunk, work.overlap, ring=work.ring)
    assert plan.all_at_once == (not work.ring and [part.last - part.first for part in each] == [work.frames])
    assert plan.together == max(part.last - part.first for part in each)
    inside = [frame for part in each for frame in part.frames_F[slice(*part.inside)].tolist()]
    assert inside == list(range(work.frames))


@given(works)
def test_how_often_frames_are_decoded_is_counted_over_the_parts(work):
    plan = DecodePlan(work, work.asked or work.frames, 1, keep=False, on_host=False)
    each = parts(work.frames, plan.chunk, work.overlap, ring=work.ring)
    decoded = sum(len(part.frames_F) for part in each)
    assert plan.times * work.frames == pytest.approx(decoded if plan.all_at_once else 2 * decoded)


def test_a_wider_overlap_takes_as_many_frames_as_then_fit():
    """More on each side of few frames on the device would be most of the work; the host has room for many."""
    work = replace(SVD, frames=1000)
    plan = plan_decoding(work, 8 * GIB, 51 * GIB, 2 * GIB)
    wider = plan.with_overlap(16)
    assert (plan.on_host, wider.on_host, wider.work.overlap) == (False, True, 16)
    assert wider.chunk > plan.chunk
    assert wider.times < 3
    asked = plan_decoding(replace(work, asked=7), 8 * GIB, 51 * GIB, 2 * GIB).with_overlap(16)
    assert asked.chunk == 7  # no more at a time than was asked for


@given(works, st.floats(0.1, 100))
def test_states_on_a_host_that_is_out_of_memory_too_become_fewer(work, budget):
    plan = plan_decoding(work, int(budget * GIB), 10 * GIB, 512 * MIB)
    while plan is not None and plan.on_host:
        smaller = plan.smaller()
        assert smaller is None or not smaller.on_host or smaller.held < plan.held or smaller.peak < plan.peak
        assert smaller is not None or plan.together == plan.work.together(min(FEWEST, plan.work.frames))
        plan = smaller


@given(works, st.floats(0.1, 100))
def test_what_takes_the_least_fits_what_it_takes(work, host):
    for on_host in (False, True):
        least = least_decoding(work, on_host=on_host)
        room = least.held if on_host else 0
        assert plan_decoding(work, least.peak, room, 512 * MIB) is not None
    assert least_decoding(work, on_host=True).peak <= least_decoding(work, on_host=False).peak


@given(works, st.floats(0.5, 100))
def test_smaller_plans_end_at_the_smallest(work, budget):
    plan, seen = plan_decoding(work, int(budget * GIB), 0, 512 * MIB), 0
    while plan is not None:
        smaller = plan.smaller()
        assert smaller is None or (smaller.peak, smaller.together) < (plan.peak, plan.together)
        plan, seen = smaller, seen + 1
    assert seen < 40


def config(**asked):
    said = {"model": FACTS.name, "seed": 1, "width": 1024, "height": 576, "dtype": "float16", "frames": 100}
    return longtake.resolve(longtake.load_config(said | asked, REGISTRY), FACTS, REGISTRY)


def test_decoding_takes_what_there_is_first_on_the_device_then_in_the_hosts_memory(monkeypatch):
    monkeypatch.setattr("longtake.core.budget.decoding.host_room", lambda _: 12 * GIB)
    ways = [
        (plan.chunk, plan.keep, plan.on_host)
        for plan in (fit_decoding(config(**asked), FACTS) for asked in (
            {"memory": "80GiB"}, {"memory": "50GiB"}, {"memory": "12GiB"}, {"frames": 25, "memory": "4GiB"},
            {"memory": "4GiB"},
        ))
    ]  # fmt: skip
    assert ways[:2] == [(100, True, False), (100, False, False)]
    assert ways[2] == (15, False, False)
    assert ways[3] == (25, False, True)
    assert ways[4] == (19, False, True)


def test_what_cannot_be_decoded_is_refused_with_what_could(monkeypatch):
    monkeypatch.setattr("longtake.core.budget.decoding.host_room", lambda _: 12 * GIB)
    with pytest.raises(ConfigError) as refused:
        fit_decoding(config(memory="1GiB"), FACTS)
    assert str(refused.value) == (
        "decoding 100 frames of 1024x576, 12 at a time, takes at least 1.8 GiB, and 5.1 GiB of the host's memory, but "
        "--memory allows 1.0 GiB, and the host 12.0 GiB; what fits: frames of 640x320"
    )
    with pytest.raises(
        ConfigError, match="66 at a time, .* of the host's memory, but .*: --decode-chunk 19; frames of"
    ):
        fit_decoding(config(memory="4GiB", decode_chunk=62), FACTS)


def test_weights_that_stay_on_the_device_count(monkeypatch):
    monkeypatch.setattr("longtake.core.budget.decoding.host_room", lambda _: 0)
    alone, beside = (fit_decoding(config(memory="12GiB"), FACTS, weights_loaded=loaded) for loaded in (False, True))
    assert beside.work.weights - alone.work.weights == work_of(config(), FACTS).weights
    assert alone.work.weights == 4 * (FACTS.vae_parameters + 16 * (512**2 + 512**2 + 256**2))
    assert beside.chunk < alone.chunk


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"memory": "80GiB"}, "chunks 1.4 GiB; all frames at once"),
        ({"frames": 25, "memory": "4GiB"}, "GiB in the host's memory, chunks 1.4 GiB; all frames at once"),
        ({"memory": "12GiB"}, "GiB; 15 frames at a time, with 4 more on each side, twice: 3.0 times the work"),
    ],
)
def test_a_plan_is_told_in_a_line(monkeypatch, asked, said):
    monkeypatch.setattr("longtake.core.budget.decoding.host_room", lambda _: 12 * GIB)
    assert said in describe_decoding(fit_decoding(config(**asked), FACTS))
