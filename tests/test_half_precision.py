"""Sums of windows in half precision: weights and sums are in float32, so that they add up to one.

Shape suffixes: P = pixels, N = heads, F = frames, D = channels per head, C = channels.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from longtake import AttentionStrategy, Span
from longtake.core.conditioning import Conditioning
from longtake.core.course import Course
from longtake.core.engine import transformer as engine
from longtake.core.engine.split import Split
from longtake.core.seams import Seams
from longtake.core.windows import SHAPES
from longtake.plugins.attention.freenoise import FreeNoiseWindows
from longtake.plugins.attention.full import Full
from longtake.plugins.attention.local_global import LocalGlobal
from longtake.plugins.attention.looped import Looped
from longtake.plugins.comfy.patches import Block
from longtake.plugins.comfy.told import ToldSeams
from longtake.plugins.context.looped import Looped as LoopedContext
from longtake.plugins.context.predict import FusedDenoiser
from longtake.plugins.context.static import Static
from longtake.plugins.context.uniform import Uniform

HALVES = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
WINDOWS = pytest.mark.parametrize("kind", [FreeNoiseWindows, Looped])
FUSES = pytest.mark.parametrize("fuse", sorted(SHAPES))
SPAN = Span(frames=61, trained=14)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@HALVES
@WINDOWS
@FUSES
def test_windows_of_ones_are_ones(dtype, kind, fuse):
    q, k, _ = drawn(3, 4, 2, 61, 16).to(dtype)
    seen = kind(stride=3, fuse=fuse, positions="global").attend(q, k, torch.ones_like(q), SPAN, None)
    assert torch.equal(seen, torch.ones_like(q))


@HALVES
@WINDOWS
def test_windows_are_as_near_to_the_truth_as_plain_attention(dtype, kind):
    """Relative error against the same windows in float64: the result of a window is rounded, and then the sum."""
    half = drawn(3, 16, 2, 61, 32).to(dtype)

    def error(strategy: AttentionStrategy) -> float:
        truth = strategy.attend(*half.double(), SPAN, None)
        return float((strategy.attend(*half, SPAN, None) - truth).norm() / truth.norm())

    plain = error(AttentionStrategy())
    for fuse in SHAPES:
        assert error(kind(stride=3, fuse=fuse, positions="global")) < 1.2 * plain


@HALVES
@pytest.mark.parametrize("kind", [Static, Uniform, LoopedContext])
@FUSES
def test_an_identity_in_context_windows_gives_the_video_back_bit_for_bit(dtype, kind, fuse):
    strategy, video = kind(window=14, overlap=9, fuse=fuse), drawn(1, 61, 2, 3, 4).to(dtype)
    images = torch.zeros(1, 61, 1, 1, 1)
    same = FusedDenoiser(lambda latents, sigma, **_: latents, strategy, strategy.windows(SPAN), SPAN, images, 1.0)
    made = same(video, 1.0)
    assert made.dtype == dtype
    assert torch.equal(made, video)


@pytest.fixture
def local_windows(monkeypatch, tiny_model):
    """The engine's transformer with a temporal block that changes nothing."""
    monkeypatch.setattr(engine, "temporal_block", lambda block, tokens, *_: tokens.clone())
    unet = tiny_model.pipeline.unet
    return engine.Transformer(next(each for each in unet.modules() if hasattr(each, "temporal_transformer_blocks")))


@HALVES
@WINDOWS
@FUSES
@torch.no_grad()
def test_an_identity_in_the_block_of_each_window_gives_the_tokens_back_bit_for_bit(local_windows, dtype, kind, fuse):
    tokens = drawn(19, 6, local_windows.module.inner_dim).to(dtype)
    seams = Seams(4, None, kind(stride=1, fuse=fuse, positions="local"))
    local_windows._code, local_windows.share = lambda *_: tokens[:4, 0], 1.0
    made, block = tokens.clone(), local_windows.module.temporal_transformer_blocks[0]
    local_windows._temporal(block.to(dtype), made, drawn(1, 16).to(dtype), seams, Split())
    block.float()
    assert torch.equal(made, tokens)


@HALVES
@WINDOWS
@FUSES
def test_so_it_does_in_comfyui(dtype, kind, fuse):
    seams = ToldSeams(4, None, kind(stride=1, fuse=fuse, positions="local"))
    nothing = torch.nn.Module()
    nothing.forward = torch.zeros_like
    states = drawn(6, 19, 8).to(dtype)
    made = Block(torch.nn.Identity(), seams, nothing)(states)
    assert made.dtype == dtype
    assert torch.equal(made, states)


@HALVES
def test_images_that_fade_or_go_over_into_another_are_rounded_once(dtype):
    """As the product or the blend in float64 is, to the nearest number of their dtype, but for a rare tie."""
    images, ends_F = drawn(61, 4, 3, 5).to(dtype), torch.linspace(0, 1, 61)
    strategy = Static(image="faded")
    faded = strategy.image_latents(images, torch.arange(61), torch.zeros(61, 1, 1, 1), SPAN)
    exactly = strategy.image_latents(images.double(), torch.arange(61), torch.zeros(61, 1, 1, 1), SPAN)
    assert faded.dtype == dtype
    assert (faded != exactly.to(dtype)).float().mean() < 1e-3
    one, other = images[:1], images[1:2]
    told = Conditioning(torch.zeros(1, 1, 4), one, 0.02, end_latents_BCYX=other, ends_F=ends_F)
    exactly = replace(told, image_latents_BCYX=one.double(), end_latents_BCYX=other.double()).image_latents(61)
    assert told.image_latents(61).dtype == dtype
    assert (told.image_latents(61) != exactly.to(dtype)).float().mean() < 1e-3


@HALVES
def test_factors_over_the_frames_are_rounded_once(dtype):
    """A factor of 1.1 on queries does not become 1.1015625, that of bfloat16, before it is multiplied."""
    q, k, v = drawn(3, 4, 2, 61, 16).to(dtype)
    over_frames, number = (Full(value_scale=Course.of(each)) for each in ([1.1, 1.1], 1.1))
    seams = [Seams(14, None, strategy) for strategy in (over_frames, number)]
    one, other = (each.attend(q, k, v) for each in seams)
    assert torch.equal(one, other)
    strategy = LocalGlobal(radius=30)
    truth = strategy.attend(q.double(), k.double(), v.double(), SPAN, None)
    seen = strategy.attend(q, k, v, SPAN, None)
    assert seen.dtype == dtype
    assert (seen - truth).norm() / truth.norm() < 2 * torch.finfo(dtype).eps
