"""Low frequencies of full attention with high ones of a band: the filter, whole frames, and the memory they take."""

from __future__ import annotations

import cmath
import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

import longtake
from longtake import AttentionStrategy, Span, generate, installed
from longtake.core.budget.decoding import fit_decoding
from longtake.core.budget.denoising import least_budget, work_of
from longtake.core.engine.split import Split
from longtake.core.errors import ConfigError
from longtake.plugins.attention.spectral import Spectral, low_pass

REGISTRY = longtake.load_plugins(third_party=False).registry
sides = st.integers(1, 7)


def random(pixels: int, frames: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(3, pixels, 2, frames, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def banded(q, k, v, radius):
    frames = torch.arange(q.shape[2])
    return scaled_dot_product_attention(q, k, v, attn_mask=(frames[:, None] - frames).abs() <= radius)


def test_the_filter_worked_by_hand():
    # 2 rows, 1 column, 4 frames: frequencies over rows 0 and 1 (the highest), over frames 0, 1/2 and 1.
    # With cut-offs of 1/2: e^-(1/2)(0 + 1) = e^-0.5 at half the highest over frames, e^-2 at the highest of either.
    low = low_pass((2, 1, 4), (0.5, 0.25, 0.5))[..., 0]
    expected = torch.tensor([[[0, -0.5, -2]], [[-2, -2.5, -4]]], dtype=torch.float64).exp()
    torch.testing.assert_close(low, expected)


def test_the_blend_equals_a_direct_transform():
    """Oracle: sums over waves, written out, over 2 x 3 pixels of 5 frames."""
    rows, columns, frames, strategy = 2, 3, 5, Spectral(radius=1, time=0.5, space=0.25)
    q, k, v = random(rows * columns, frames)
    seen = strategy.attend(q, k, v, Span(frames=frames, trained=4, rows=rows, columns=columns), None)
    apart = scaled_dot_product_attention(q, k, v) - banded(q, k, v, 1)
    places = list(itertools.product(range(rows), range(columns), range(frames)))
    sizes, lowered = (rows, columns, frames), torch.zeros_like(apart)

    def wave(one, other):
        return cmath.exp(2j * math.pi * sum(a * b / size for a, b, size in zip(one, other, sizes, strict=True)))

    for number in places:
        # How many waves fit: beyond half the size they run the other way.
        shares = [2 * min(n, size - n) / size for n, size in zip(number, sizes, strict=True)]
        low = math.exp(-0.5 * sum((s / cut) ** 2 for s, cut in zip(shares, (0.25, 0.25, 0.5), strict=True)))
        strength = sum(apart[columns * y + x, :, f] * wave(number, (y, x, f)).conjugate() for y, x, f in places)
        for y, x, f in places:
            lowered[columns * y + x, :, f] += (low * strength * wave(number, (y, x, f)) / len(places)).real
    torch.testing.assert_close(seen, banded(q, k, v, 1) + lowered, atol=1e-9, rtol=0)


@given(rows=sides, columns=sides, frames=st.integers(5, 20), time=st.floats(0.01, 1), space=st.floats(0.01, 1))
def test_a_constant_stays_and_a_band_of_all_frames_is_full_attention(rows, columns, frames, time, space):
    q, k, v = random(rows * columns, frames, frames)
    span = Span(frames=frames, trained=4, rows=rows, columns=columns)
    seen = Spectral(time=time, space=space).attend(q, k, torch.full_like(v, 0.7), span, None)
    torch.testing.assert_close(seen, torch.full_like(v, 0.7))
    whole = Spectral(radius=frames, time=time, space=space).attend(q, k, v, span, None)
    torch.testing.assert_close(whole, scaled_dot_product_attention(q, k, v))


@given(rows=sides, columns=sides, frames=st.integers(5, 20))
def test_means_are_those_of_full_attention(rows, columns, frames):
    """The frequency 0 is all low: the mean over frames and pixels comes from full attention alone."""
    q, k, v = random(rows * columns, frames, frames)
    seen = Spectral(radius=1).attend(q, k, v, Span(frames=frames, trained=4, rows=rows, columns=columns), None)
    full = scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(seen.mean(dim=(0, 2)), full.mean(dim=(0, 2)))


def test_the_narrower_the_filter_the_more_comes_from_the_neighbours():
    q, k, v = random(12, 9)
    span = Span(frames=9, trained=4, rows=3, columns=4)
    wide, narrow = (Spectral(radius=1, time=cut, space=cut).attend(q, k, v, span, None) for cut in (1, 0.01))
    local, full = banded(q, k, v, 1), scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(narrow, local + (full - local).mean(dim=(0, 2), keepdim=True))
    assert (wide - full).norm() < (narrow - full).norm()


def test_pixels_whose_rows_are_not_known_are_one_row():
    q, k, v = random(6, 9)
    unknown = Spectral().attend(q, k, v, Span(frames=9, trained=4), None)
    assert torch.equal(unknown, Spectral().attend(q, k, v, Span(frames=9, trained=4, rows=1, columns=6), None))
    assert not torch.equal(unknown, Spectral().attend(q, k, v, Span(frames=9, trained=4, rows=2, columns=3), None))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_frequencies_are_taken_in_float32(dtype):
    q, k, v = random(35, 9).to(dtype)
    span = Span(frames=9, trained=4, rows=5, columns=7)
    seen = Spectral().attend(q, k, v, span, None)
    assert seen.dtype == dtype
    exact = Spectral().attend(q.double(), k.double(), v.double(), span, None)
    torch.testing.assert_close(seen.double(), exact, atol=8 * torch.finfo(dtype).eps, rtol=0)


@pytest.mark.parametrize(("option", "value"), [("radius", 0), ("time", 0), ("space", 1.5)])
def test_what_is_no_filter_is_refused(option, value):
    with pytest.raises(ConfigError, match=f"attention.{option} should be .*, got {value}"):
        REGISTRY.build("attention", {"name": "spectral", option: value})


class Recorded(AttentionStrategy):
    """Full attention that keeps what it has been told of, and asks for whole frames if ``whole``."""

    name = "recorded"
    whole: bool = False

    def whole_frames(self, span):
        return self.whole

    def attend(self, q_PNFD, k_PNFD, v_PNFD, span, scale):
        SEEN.append((len(q_PNFD), span.rows, span.columns))
        return super().attend(q_PNFD, k_PNFD, v_PNFD, span, scale)


SEEN: list[tuple[int, int | None, int | None]] = []


@torch.no_grad()
def call(unet, attention, workspace=None, frames=7):
    generator = torch.Generator().manual_seed(0)
    given_ = (torch.randn(2, frames, 8, 5, 6, generator=generator), torch.tensor(0.3))
    more = (torch.randn(2, 1, 16, generator=generator), torch.tensor([[6.0, 127.0, 0.02]] * 2))
    with installed(unet, None, attention, split=Split(workspace, keep=workspace is None)):
        return unet(*given_, *more, return_dict=False)[0]


@pytest.mark.parametrize(
    ("whole", "workspace", "seen"),
    [(False, None, (30, 5, 6)), (True, None, (30, 5, 6)), (True, 1, (30, 5, 6)), (False, 1, (1, None, None))],
)
def test_the_engine_tells_of_rows_and_columns_where_it_hands_over_whole_frames(tiny_model, whole, workspace, seen):
    SEEN.clear()
    call(tiny_model.pipeline.unet, Recorded(whole=whole), workspace)
    assert SEEN[0] == SEEN[-1] == seen
    assert {rows is None for _, rows, _ in SEEN} == {seen[1] is None}


def test_whole_frames_are_handed_over_in_any_split(tiny_model):
    unet = tiny_model.pipeline.unet
    whole = call(unet, Spectral())
    torch.testing.assert_close(call(unet, Spectral(), 1), whole, atol=1e-5, rtol=0)
    assert (whole - call(unet, None)).abs().max() > 1e-5
    assert torch.equal(call(unet, Spectral(), 1, frames=4), call(unet, None, 1, frames=4))  # nothing to stretch


def test_the_least_budget_gives_the_same_video_and_less_is_refused(tiny_model, picture, builtins, monkeypatch):
    def anyway(config, facts, **more):
        return fit_decoding(config.model_copy(update={"memory": None}), facts, **more)

    monkeypatch.setattr("longtake.core.generate.fit_decoding", anyway)  # which would take more than the UNet
    asked = {"width": 32, "height": 24, "steps": 4, "seed": 3, "frames": 7, "attention": "spectral"}
    whole = generate(picture, model=tiny_model, plugins=builtins, **asked)
    least = least_budget(work_of(whole.config, tiny_model.facts), 0)
    tight = generate(picture, model=tiny_model, plugins=builtins, memory=least, **asked)
    torch.testing.assert_close(tight.latents, whole.latents, atol=1e-4, rtol=0)
    with pytest.raises(ConfigError, match="7 frames of 32x24 take at least .*; what fits: "):
        generate(picture, model=tiny_model, plugins=builtins, memory=least - 1, **asked)
