"""The loops of algorithms, worked out by hand with a sampler and a denoiser that return known numbers.

Shape suffixes: B = batch, F = frames, C = latent channels, Y, X = latent rows, columns.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from longtake import Span
from longtake.core.conditioning import Conditioning
from longtake.core.contracts import ContextStrategy, Windows
from longtake.core.denoiser import Part
from longtake.plugins.context.looped import Looped
from longtake.plugins.context.predict import FusedDenoiser
from longtake.plugins.context.static import Static
from longtake.plugins.sampling.chain import Chain, Holding, matched
from longtake.plugins.sampling.freeinit import FreeInit


def row(*values: float) -> Tensor:
    """Return one frame of one channel, one row: (1, 1, 1, 1, X)."""
    return torch.tensor(values, dtype=torch.float32).reshape(1, 1, 1, 1, -1)


def frames(*values: float) -> Tensor:
    """Return frames of one number each: (1, F, 1, 1, 1)."""
    return torch.tensor(values, dtype=torch.float32).reshape(1, -1, 1, 1, 1)


class Sampled:
    """A sampler that returns one result after another, and keeps what it was called with."""

    def __init__(self, results: list[Tensor], drawn: list[Tensor] = (), run: Any = None) -> None:
        self.results, self.drawn, self.run = iter(results), iter(drawn), run
        self.starts: list[list[float]] = []
        self.asked: list[dict[str, Any]] = []

    def __call__(self, noise_BFCYX: Tensor, **asked: Any) -> Tensor:
        self.starts.append(noise_BFCYX.flatten().tolist())
        self.asked.append(asked)
        return next(self.results)

    def fresh(self, like_BFCYX: Tensor) -> Tensor:
        return next(self.drawn)

    def plan_for(self, places: range) -> range:
        return places


def test_freeinit_worked_out_by_hand():
    """Of two numbers the mean is the low frequency and the difference the high one.

    sigma = 3/4, so sqrt(sigma² + 1) = 5/4. The first noise, 3 and 1, has a mean of 2. The first result has a mean of
    10: (10 + 3/4 · 2) / (5/4) = 9.2, with the difference of fresh noise, 5 and -5. The second result has a mean of 20:
    (20 + 3/4 · 2) / (5/4) = 17.2, still with the first noise, and with fresh noise of 1 and -1.
    """
    sampler = Sampled([row(11, 9), row(25, 15), row(7, 8)], [row(5, -5), row(1, -1)])
    made = FreeInit(iterations=3, sigma=0.75, filter="ideal").sample(sampler, row(3, 1))
    assert made.flatten().tolist() == [7, 8]
    expected = [[3, 1], [9.2 + 5, 9.2 - 5], [17.2 + 1, 17.2 - 1]]
    torch.testing.assert_close(torch.tensor(sampler.starts), torch.tensor(expected))


def test_freeinit_starts_from_noise_of_unit_variance():
    """A result of unit variance with noise of sigma is divided by sqrt(sigma² + 1), not by sigma."""
    noise, made, fresh = torch.randn(3, 1, 8, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    sampler = Sampled([made, made], [fresh])
    FreeInit(iterations=2, sigma=0.5).sample(sampler, noise)
    assert torch.tensor(sampler.starts[1]).std() == pytest.approx(1, abs=0.05)


def test_freeinit_takes_the_means_of_its_result_and_the_noise_of_its_fresh_noise():
    noise, made, fresh = torch.randn(3, 1, 8, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    sampler = Sampled([made, made], [fresh])
    FreeInit(iterations=2).sample(sampler, noise)
    start = torch.tensor(sampler.starts[1])
    assert torch.corrcoef(torch.stack([start, fresh.flatten()]))[0, 1] > 0.9
    assert FreeInit(iterations=7).frames_denoised(Span(frames=10, trained=4)) == 70


def chained(
    strategy: Chain, count: int, results: list[Tensor], before: Tensor | None = None, columns: int = 1
) -> tuple[Any, Tensor]:
    """Return the sampler and the latents of a chain over frames whose noise is 0.1, 0.2 …; the image is 1, unscaled."""
    told = Conditioning(torch.zeros(1, 1, 4), torch.ones(1, 1, 1, columns), 0.02, ends_F=torch.arange(count) / 100)
    plan = SimpleNamespace(span=Span(frames=count, trained=4))
    run = SimpleNamespace(plan=plan, before_BFCYX=before, conditioning=told, vae_scaling=2.0)
    sampler = Sampled(results, [frames(*[9.0] * 4)] * 20, run)
    noise = frames(*(each / 10 for each in range(1, count + 1)))
    return sampler, strategy.sample(sampler, noise.expand(-1, -1, -1, -1, columns))


def test_a_chain_worked_out_by_hand():
    """8 frames by chunks of 4 that share 1: chunks begin at 0, 3 and, to end on frame 7, at 4."""
    results = [frames(10, 11, 12, 13), frames(0, 20, 21, 22), frames(0, 0, 0, 30)]
    sampler, made = chained(Chain(overlap=1), 8, results)
    # From each chunk what is new: three frames of the second, the last one of the third.
    assert made.flatten().tolist() == [10, 11, 12, 13, 20, 21, 22, 30]
    noises = [[0.1, 0.2, 0.3, 0.4], [0.4, 0.5, 0.6, 0.7], [0.5, 0.6, 0.7, 0.8]]
    torch.testing.assert_close(torch.tensor(sampler.starts), torch.tensor(noises))
    assert [asked["plan"] for asked in sampler.asked] == [range(4), range(3, 7), range(4, 8)]
    # Each later chunk has for an image its own first frame, unscaled: 13 / 2 and 20 / 2.
    images = [asked["conditioning"].image_latents_BCYX.item() for asked in sampler.asked]
    assert images == [1, 6.5, 10]
    ends = [asked["conditioning"].ends_F[0].item() for asked in sampler.asked]
    torch.testing.assert_close(torch.tensor(ends), torch.tensor([0, 0.03, 0.04]))


@pytest.mark.parametrize(
    ("carry", "seen"),
    [
        # The second chunk knows frame 3, whose noise is 0.4; at sigma 10 it is 13 + 10 · 0.4, or with fresh noise of 9.
        ("kept", [17, -1, -1, -1]),
        ("renoised", [103, -1, -1, -1]),
        ("image", [-1, -1, -1, -1]),
    ],
)
def test_what_a_chunk_knows_is_held_at_it(carry, seen):
    results = [frames(10, 11, 12, 13), frames(0, 20, 21, 22)]
    sampler, _ = chained(Chain(overlap=1, carry=carry), 7, results)
    told: list[list[float]] = []

    def denoiser(latents: Tensor, sigma: float, **_: Any) -> Tensor:
        told.append(latents.flatten().tolist())
        return torch.full_like(latents, 5.0)

    first, second = (asked["wrap"](denoiser) for asked in sampler.asked)
    assert first is denoiser
    if carry == "renoised":
        sampler.drawn = iter([frames(9)])
    made = second(frames(-1, -1, -1, -1), 10.0)
    torch.testing.assert_close(torch.tensor(told), torch.tensor([seen], dtype=torch.float32))
    assert made.flatten().tolist() == ([5] * 4 if carry == "image" else [13, 5, 5, 5])


def test_a_chain_goes_on_from_frames_that_are_there():
    """Two frames of another video, and chunks of 4 that share 2: the first chunk makes two frames, the second two."""
    sampler, made = chained(Chain(overlap=2), 6, [frames(0, 0, 10, 11), frames(0, 0, 20, 21)], before=frames(7, 8))
    assert made.flatten().tolist() == [7, 8, 10, 11, 20, 21]
    assert [asked["conditioning"].image_latents_BCYX.item() for asked in sampler.asked] == [1, 5]


def test_colours_are_drawn_back_in_chunks_that_go_on_and_not_in_the_first():
    """The image, scaled, is 2 everywhere: of the way there frames go a third, two thirds and all."""
    results = [each.expand(-1, -1, -1, -1, 2) for each in (frames(10, 11, 12, 13), frames(0, 20, 23, 26))]
    _, made = chained(Chain(overlap=1, match=1), 7, results, columns=2)
    torch.testing.assert_close(made[..., 0].flatten(), torch.tensor([10.0, 11, 12, 13, 14, 9, 2]))


def test_a_match_worked_out_by_hand():
    """Mean 3 and deviation sqrt 2 (of 2 and 4), reference mean 10 and deviation sqrt 8: 2 -> 8, 4 -> 12, by halves."""
    latents, reference = frames(2, 4), torch.tensor([[[[8.0, 12.0]]]])
    torch.testing.assert_close(matched(latents, reference, 1.0).flatten(), torch.tensor([2 + (8 - 2) / 2, 12]))
    torch.testing.assert_close(matched(latents, reference, 0.5).flatten(), torch.tensor([3.5, 8]))
    assert matched(latents, reference, 0.0) is latents


def test_a_chain_shares_a_quarter_unless_another_overlap_is_asked_for():
    span = Span(frames=100, trained=24)
    assert (Chain().shared(span), Chain().seen(span), Chain().starts(span)[1]) == (6, 24, 18)
    assert Chain(chunk=10, overlap=3).starts(span)[:3] == [0, 7, 14]
    assert Chain(chunk=3).shared(span) == 1
    assert Chain().frames_denoised(Span(frames=42, trained=24)) == 48
    assert Chain().seen(Span(frames=9, trained=24)) == 9


def test_fresh_noise_is_drawn_at_every_other_sigma():
    drawn = iter([frames(1), frames(2), frames(3)])
    holding = Holding(lambda latents, sigma, **_: latents, frames(0), frames(0), fresh=lambda like: next(drawn))
    for sigma in (3.0, 3.0, 2.0, 1.0):
        holding(frames(0, 0), sigma)
    assert next(drawn, None) is None


def test_a_held_denoiser_is_asked_what_is_asked_of_it():
    asked = []

    def denoiser(latents: Tensor, sigma: float, **told: Any) -> Tensor:
        asked.append((sigma, *told.values()))
        return latents

    part, holding = Part(torch.tensor([0, 1])), Holding(denoiser, frames(0), frames(0))
    holding(frames(0, 0), 3.0)
    holding(frames(0, 0), 2.0, conditional=False, part=part)
    assert asked == [(3.0, True, None), (2.0, False, part)]


class Uneven(ContextStrategy):
    """Three windows of 3 over 5 frames, whose weights are not those of any shape."""

    name = "uneven"

    def windows(self, span: Span) -> Windows:
        rows = [[1, 0.75, 0.5, 0, 0], [0, 0.25, 0.25, 0.5, 0], [0, 0, 0.25, 0.5, 1]]
        return Windows(3, [0, 1, 2], torch.tensor(rows), local_positions=True)


def test_windows_on_a_ring_turn_by_the_shift_of_the_step():
    """24 frames, a stride of 6 moved by 0, 3, 1 and 4; at step 1 and a stride of 12 windows move by 6."""
    ring = Looped(window=8, overlap=2)
    starts = [ring.windows(Span(frames=24, trained=8, step=step)).starts for step in range(4)]
    assert starts == [[first, first + 6, first + 12, first + 18] for first in (0, 3, 1, 4)]
    assert Looped(window=14, overlap=2).windows(Span(frames=24, trained=8, step=1)).starts == [6, 18]


def test_a_fused_prediction_worked_out_by_hand():
    """Window w predicts 10 w + 10 of its frames: frame 1 is 0.75 · 10 + 0.25 · 20."""
    span, strategy, asked = Span(frames=5, trained=3), Uneven(), []

    def denoiser(latents: Tensor, sigma: float, *, conditional: Any, part: Any) -> Tensor:
        asked.append((latents.flatten().tolist(), sigma, conditional, part.frames_F.tolist(), part.local))
        return torch.full_like(latents, 10.0 * len(asked))

    images = torch.zeros(1, 5, 1, 1, 1)
    fused = FusedDenoiser(denoiser, strategy, strategy.windows(span), span, images, 1.0)
    made = fused(frames(0, 1, 2, 3, 4), 7.0, conditional=False)
    assert made.flatten().tolist() == [10, 0.75 * 10 + 0.25 * 20, 0.5 * 10 + 0.25 * 20 + 0.25 * 30, 25, 30]
    assert asked == [
        ([0, 1, 2], 7.0, False, [0, 1, 2], True),
        ([1, 2, 3], 7.0, False, [1, 2, 3], True),
        ([2, 3, 4], 7.0, False, [2, 3, 4], True),
    ]


def test_a_window_is_told_what_the_ones_before_it_predicted():
    """Of frames that no window has predicted it is told nothing; of others their mean so far, unscaled."""
    told = []

    class Watching(Uneven):
        name = "watching"

        def image_latents(self, images_FCYX, frames_F, before_TCYX, span):
            told.append(before_TCYX.flatten().tolist())
            return images_FCYX

    strategy, span = Watching(), Span(frames=5, trained=3)
    results = iter((10.0, 20.0, 30.0))
    fused = FusedDenoiser(
        lambda latents, sigma, **_: torch.full_like(latents, next(results)),
        *(strategy, strategy.windows(span), span, torch.zeros(1, 5, 1, 1, 1), 2.0),
    )
    fused(frames(0, 0, 0, 0, 0), 1.0)
    nothing = float("nan")
    # After the first window its 10 / 2; after the second frame 1 is (0.75 · 10 + 0.25 · 20) / 2, and frame 2
    # (0.5 · 10 + 0.25 · 20) / 0.75 / 2.
    expected = [[nothing] * 5, [5, 5, 5, nothing, nothing], [5, 6.25, 20 / 3, 10, nothing]]
    torch.testing.assert_close(torch.tensor(told), torch.tensor(expected), equal_nan=True)


def test_a_faded_image_loses_half_of_what_is_left_in_each_reach():
    images, none = torch.ones(20, 1, 1, 1), torch.zeros(20, 1, 1, 1)
    faded = Static(image="faded").image_latents(images, torch.arange(20), none, Span(frames=20, trained=5)).flatten()
    # The last trained frame is 4; a trained length beyond it, at 9, a half is left, two beyond it a quarter.
    assert [faded[each].item() for each in (0, 4, 9, 14, 19)] == [1, 1, 0.5, 0.25, 0.125]
