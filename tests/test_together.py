"""Several videos in one call of the engine: each gives what it gives by itself, whatever is asked of it."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch
from engine_compared import SOME, call, random
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from longtake import (
    AttentionStrategy,
    UnetDenoiser,
    encode_images,
    generate,
    installed,
    load_config,
    make_plan,
    resolve,
)
from longtake.core.engine import resblock, transformer
from longtake.core.engine.moments import Moments
from longtake.core.engine.split import Split
from longtake.core.engine.transformer import block_bytes
from longtake.core.engine.unet import Engine
from longtake.core.errors import LongtakeError
from longtake.core.image import fit_image
from longtake.core.run import Run
from longtake.plugins.attention.freenoise import FreeNoiseWindows
from longtake.plugins.attention.spectral import Spectral
from longtake.plugins.context.predict import FusedDenoiser
from longtake.plugins.context.uniform import Uniform
from longtake.plugins.sampling.chain import Holding
from longtake.positional.linear import Linear

STRATEGIES = [
    (None, None),
    (Linear(), FreeNoiseWindows(positions="local")),
    (Linear(), FreeNoiseWindows(positions="global")),
    (Linear(), Spectral()),
]
SMALL = {"width": 32, "height": 24, "frames": 6, "steps": 4, "seed": 3}


@pytest.fixture(scope="module")
def unet(make_pipeline):
    return make_pipeline().unet.double()


@pytest.fixture
def asked(monkeypatch) -> list[int]:
    """How many videos each call of the engine has had so far."""
    seen, run = [], Engine.run

    def counted(self, sample, tokens, *more, **named):
        seen.append(len(tokens))
        return run(self, sample, tokens, *more, **named)

    monkeypatch.setattr(Engine, "run", counted)
    return seen


def videos(batch: int, frames: int, size: tuple[int, int], told: str):
    """Return the inputs of a call, and what frames are told each: all the same, or as videos, frames or both differ."""
    ids = torch.tensor([6.0, 127.0, 0.02], dtype=torch.float64).repeat(batch, frames, 1)
    ids[..., 0] += torch.arange(batch)[:, None] * ("video" in told)
    ids[..., 1] -= 10 * torch.arange(frames) * ("frame" in told)
    given_ = random(batch, frames, 8, *size), torch.tensor(0.3), random(batch, 1, 16, seed=1), ids[:, 0]
    return given_, ids


def difference(unet, strategies, given_, ids, split: Split) -> float:
    """Return how far the videos of a call are from themselves, run one after another and everything at a time."""
    made = []
    for way in (Split(), split):
        with installed(unet, *strategies, split=way) as seams:
            seams.time_ids_BF3 = ids
            made.append(call(unet, given_))
    return float((made[0] - made[1]).abs().max())


@given(
    batch=st.integers(2, 3),
    frames=st.integers(1, 7),
    rows=st.integers(3, 5),
    columns=st.integers(3, 5),
    told=st.sampled_from(["", "video", "frame", "video and frame"]),
    strategies=st.sampled_from(STRATEGIES),
    workspace=st.none() | st.integers(1, 300_000),
    keep=st.booleans(),
    at_once=st.integers(2, 3),
)
@settings(max_examples=15)
def test_videos_give_together_what_each_gives_alone(
    unet, batch, frames, rows, columns, told, strategies, workspace, keep, at_once
):
    given_, ids = videos(batch, frames, (rows, columns), told)
    assert difference(unet, strategies, given_, ids, Split(workspace, keep, videos=at_once)) < 1e-12


def test_as_many_run_together_as_the_split_says(unet, asked):
    given_, _ = videos(3, 5, (4, 6), "")
    for at_once, expected in {1: [1] * 3, 2: [2, 1], 7: [3]}.items():
        asked.clear()
        with installed(unet, split=Split(videos=at_once)):
            call(unet, given_)
        assert asked == expected


def in_a_row_for_all(self, parts):
    merged = self.merge(parts)
    return Moments(merged.total, *(each.expand(self.videos, -1) for each in (merged.mean_RG, merged.squares_RG)))


def frames_of_each_in_a_row(self, frames):
    return self._replace(
        mean_RG=self.mean_RG.repeat_interleave(frames, 0), squares_RG=self.squares_RG.repeat_interleave(frames, 0)
    )


def turned(states, videos):
    return states.unflatten(0, (videos, -1)).transpose(0, 1).flatten(1, 2)


def of_the_first(block, token):
    return transformer_token_bias(block, token)[:1].expand(len(token), -1)


transformer_token_bias = transformer.token_bias


@pytest.mark.parametrize(
    ("where", "name", "wrong"),
    [
        (Split, "merged", in_a_row_for_all),
        (Moments, "for_each_frame", frames_of_each_in_a_row),
        (resblock, "side_by_side", turned),
        (transformer, "side_by_side", turned),
        (transformer, "token_bias", of_the_first),
    ],
)
def test_the_proof_fails_where_videos_are_taken_for_one_another(unet, monkeypatch, where, name, wrong):
    given_, ids = videos(2, 5, (4, 6), "")
    split = Split(SOME, videos=2)
    assert difference(unet, (None, None), given_, ids, split) < 1e-12
    monkeypatch.setattr(where, name, wrong)
    with installed(unet, split=split):
        wrongly = call(unet, given_)
    monkeypatch.undo()
    with installed(unet):
        assert (call(unet, given_) - wrongly).abs().max() > 1e-9


def test_the_proof_fails_where_codes_go_to_other_frames(unet, monkeypatch):
    given_, ids = videos(2, 5, (4, 6), "")
    monkeypatch.setattr(torch.Tensor, "repeat_interleave", lambda states, times, dim: states.repeat(times, 1))
    assert difference(unet, (None, None), given_, ids, Split(videos=2)) > 1e-9


class Heard(AttentionStrategy):
    """Writes down what it is asked about."""

    name = "heard"
    whole: bool
    heard: list[tuple[int, int | None, int | None]] = Field(default_factory=list)

    def whole_frames(self, span):
        return self.whole

    def attend(self, q_PNFD, k_PNFD, v_PNFD, span, scale):
        self.heard.append((len(q_PNFD), span.rows, span.columns))
        return super().attend(q_PNFD, k_PNFD, v_PNFD, span, scale)


def test_whole_frames_are_those_of_one_video(unet):
    """A strategy that needs them is asked about each video, and told the frame's rows and columns."""
    strategy, (given_, _) = Heard(whole=True), videos(2, 9, (4, 6), "")
    with installed(unet, None, strategy, split=Split(20_000, videos=2)):
        call(unet, given_)
    assert {heard[:1] for heard in strategy.heard} == {(24,), (6,)}
    assert all(pixels == rows * columns for pixels, rows, columns in strategy.heard)


@pytest.mark.parametrize("share", [1, 2, 3])
def test_halves_of_two_videos_are_no_whole_frame(unet, share):
    """They have as many pixels."""
    strategy, (given_, _) = Heard(whole=False), videos(2, 9, (4, 6), "")
    workspace = 18 * block_bytes(32, 8) * 24 // share
    with installed(unet, None, strategy, split=Split(workspace, videos=2)):
        call(unet, given_)
    assert 48 // share in {pixels for pixels, _, _ in strategy.heard}
    assert {heard[1:] for heard in strategy.heard} == {(None, None)}


def test_a_denoiser_asked_for_both_branches_gives_both(tiny_model, builtins, monkeypatch, picture):
    """And so it does with the frames of windows."""
    compared = []
    ask = UnetDenoiser.__call__

    def twice(self, latents, sigma, *, conditional=True, part=None):
        made = ask(self, latents, sigma, conditional=conditional, part=part)
        if not isinstance(conditional, bool):
            parts = [replace(part, image_latents_BFCYX=each) for each in part.image_latents_BFCYX.split(1)]
            alone = [
                ask(self, each, sigma, conditional=bool(shown), part=seen)
                for each, shown, seen in zip(latents.split(1), conditional, parts, strict=True)
            ]
            compared.append((made - torch.cat(alone)).abs().max())
        return made

    monkeypatch.setattr(UnetDenoiser, "__call__", twice)
    generate(picture, model=tiny_model, plugins=builtins, context="uniform", guidance="constant", **SMALL)
    assert len(compared) >= 8
    assert max(compared) < 1e-4


CHOICES = [
    {},
    {"guidance": {"name": "linear", "min": 1.0, "max": 3.0}},
    {"context": "uniform"},
    {"sampling": "chain"},
    {"sampling": "freeinit"},
    {"attention": "spectral"},
    {"motion": "compensated", "positional": "yarn"},
]


@pytest.mark.parametrize("choices", CHOICES, ids=str)
def test_a_generation_gives_the_same_video_with_both_branches_at_once(
    tiny_model, builtins, picture, monkeypatch, asked, choices
):
    options = {"guidance": "constant"} | SMALL | choices
    both = generate(picture, model=tiny_model, plugins=builtins, **options)
    at_once = asked.copy()
    asked.clear()
    monkeypatch.setattr(Run, "both_at_once", False)
    one_by_one = generate(picture, model=tiny_model, plugins=builtins, **options)
    assert set(at_once) == {2}
    assert asked == [1] * 2 * len(at_once)
    torch.testing.assert_close(both.latents, one_by_one.latents, atol=1e-4, rtol=0)


def test_only_the_steps_that_are_guided_ask_for_both(tiny_model, builtins, picture, asked):
    generate(picture, model=tiny_model, plugins=builtins, guidance={"name": "constant", "stop": 0.5}, **SMALL)
    assert asked == [2, 2, 1, 1]
    asked.clear()
    generate(picture, model=tiny_model, plugins=builtins, guidance={"name": "constant", "scale": 1}, **SMALL)
    assert asked == [1] * 4
    asked.clear()  # what is used again must not depend on the memory there is
    generate(picture, model=tiny_model, plugins=builtins, guidance="constant", reuse=2, **SMALL)
    assert asked == [1] * 8


def test_out_of_memory_goes_on_with_one_branch_after_the_other(tiny_model, builtins, picture, monkeypatch, caplog):
    options = {"guidance": "constant"} | SMALL
    whole = generate(picture, model=tiny_model, plugins=builtins, **options)
    asked, run = [], Engine.run

    def exhausted(self, sample, tokens, *more, **named):
        asked.append((len(tokens), self.split.videos))
        if len(asked) == 2:
            raise torch.OutOfMemoryError("tried to allocate 2 GiB")
        return run(self, sample, tokens, *more, **named)

    monkeypatch.setattr(Engine, "run", exhausted)
    with caplog.at_level(logging.WARNING, logger="longtake"):
        again = generate(picture, model=tiny_model, plugins=builtins, **options)
    assert "out of memory at sigma" in caplog.text
    assert asked == [(2, 2), (2, 2), *[(1, 1)] * 6]
    torch.testing.assert_close(again.latents, whole.latents, atol=1e-4, rtol=0)


def test_several_images_have_both_branches_too(tiny_model, builtins, picture, monkeypatch):
    """Conditioning of two videos, held in a batch of four, in windows and where the first frames are known."""
    images = [fit_image(each, 32, 24, "crop") for each in (picture, picture.rotate(180))]
    config = load_config({"frames": 6, "steps": 2, "seed": 1, "width": 32, "height": 24}, builtins.registry)
    config = resolve(config, tiny_model.facts, builtins.registry)
    plan = make_plan(config, tiny_model.facts)
    conditioning = encode_images(tiny_model, images, 0.02, torch.Generator().manual_seed(0))
    latents = random(2, 6, 4, 6, 8).float()
    unet = tiny_model.pipeline.unet
    shown_B = torch.tensor([False, False, True, True])
    with installed(unet, split=Split(videos=4)) as seams:
        stock = UnetDenoiser(unet, conditioning, plan, seams)
        known, noise = latents[:, :2], random(2, 2, 4, 6, 8, seed=2).float()
        windows = Uniform(window=4).windows(plan.span)
        fused = FusedDenoiser(stock, Uniform(window=4), windows, plan.span, conditioning.image_latents(6), 0.18)
        for denoiser in (stock, Holding(stock, known, noise), fused):
            both = denoiser(torch.cat([latents, latents]), 2.0, conditional=shown_B)
            alone = [denoiser(latents, 2.0, conditional=shown) for shown in (False, True)]
            torch.testing.assert_close(both, torch.cat(alone), atol=1e-4, rtol=0)


def test_ids_of_one_video_serve_a_batch(unet):
    given_, _ = videos(3, 4, (4, 6), "")
    with installed(unet, split=Split(videos=2)):
        assert torch.equal(call(unet, (*given_[:3], given_[3][:1])), call(unet, given_))


def test_each_video_has_one_token(unet):
    given_, _ = videos(2, 3, (4, 6), "")
    message = "sees one token for the image of each of 2 videos, as SVD does, got 1 for each of 1"
    with installed(unet), pytest.raises(LongtakeError, match=message):
        call(unet, (*given_[:2], given_[2][:1], given_[3]))
