"""Loops: what does not close is said, and the decoder goes round too."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from longtake import decode, load_config, make_plan, read_facts, resolve
from longtake.core.manager import load_plugins
from longtake.core.rings import open_at

REGISTRY = load_plugins(third_party=False).registry
SVD = read_facts("stabilityai/stable-video-diffusion-img2vid")


def open_kinds(**asked) -> list[str]:
    config = resolve(load_config({"frames": 40, "seed": 1, "loop": True} | asked, REGISTRY), SVD, REGISTRY)
    return open_at(config, make_plan(config, SVD))


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, []),
        ({"positional": {"name": "circular", "way": "round"}}, []),
        ({"attention": "full"}, []),
        ({"context": "looped"}, []),
        ({"guidance": "triangle"}, []),
        ({"noise": {"name": "progressive", "closed": True}}, []),
        ({"context": {"name": "looped", "positions": "local"}, "positional": "linear"}, []),
        ({"positional": "linear"}, ["positional"]),
        ({"positional": "none"}, ["positional"]),
        ({"attention": "freenoise"}, ["attention"]),
        ({"guidance": "linear"}, ["guidance"]),
        ({"motion": {"name": "linear", "last_bucket": 200}}, ["motion"]),
        ({"noise": "progressive"}, ["noise"]),
        ({"context": "static"}, ["context"]),
    ],
)
def test_what_does_not_close_is_known(asked, expected):
    assert open_kinds(**asked) == expected


@given(frames=st.integers(15, 120))
def test_what_the_switch_chooses_closes_at_any_length(frames):
    assert open_kinds(frames=frames) == []


def test_the_plan_says_what_does_not_close(cli, folder):
    words = ("plan", "--frames", "40", "--loop", "--positional", "yarn", "--json")
    warned = cli(*words)
    assert "a loop is asked for, but positional 'yarn' does not go on from the last frame to the first" in warned.stderr
    assert "does not go on" not in cli("plan", "--frames", "40", "--loop", "--json").stderr


@given(frames=st.integers(5, 12), chunk=st.integers(1, 14), turn=st.integers(0, 11))
@settings(max_examples=15)
def test_a_ring_is_decoded_alike_wherever_it_is_cut(tiny_model, frames, chunk, turn):
    """With so much overlap that every frame sees all others on both sides."""
    latents = torch.randn(frames, 4, 3, 4, generator=torch.Generator().manual_seed(frames)) * 0.2
    made, turned = (
        np.concatenate(list(decode(tiny_model, each, chunk=chunk, overlap=12, ring=True))).astype(int)
        for each in (latents, latents.roll(turn % frames, 0))
    )
    assert len(made) == frames
    assert np.abs(np.roll(made, turn % frames, 0) - turned).mean() < 1


def test_the_ends_of_a_ring_are_nearer_to_each_other(tiny_model):
    """Latents of which the first follows the last: decoded as a ring, the step there is like the others."""
    phase = torch.arange(16) * 2 * torch.pi / 16
    base = torch.randn(2, 4, 3, 4, generator=torch.Generator().manual_seed(0))
    latents = (phase.cos()[:, None, None, None] * base[0] + phase.sin()[:, None, None, None] * base[1]) * 0.3
    gaps = []
    for ring in (False, True):
        video = np.concatenate(list(decode(tiny_model, latents, chunk=16, ring=ring))).astype(float)
        gaps.append(np.abs(video[0] - video[-1]).mean() / np.abs(np.diff(video, axis=0)).mean())
    assert abs(gaps[1] - 1) < abs(gaps[0] - 1)
    assert gaps[1] == pytest.approx(1, abs=0.35)
