"""Attention that treats far frames otherwise than near ones: decay, and neighbours with frames from all over."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import longtake
from longtake import Span, installed
from longtake.core.contracts import AttentionStrategy
from longtake.core.errors import ConfigError
from longtake.plugins.attention.decay import Decay
from longtake.plugins.attention.local_global import LocalGlobal
from longtake.plugins.attention.strided import Strided

REGISTRY = longtake.load_plugins(third_party=False).registry


def random(frames: int, channels: int, seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, 2, 2, frames, channels, generator=generator, dtype=torch.float64).mul(2).to(dtype)


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)[None, None, :, None]


def test_decay_worked_by_hand():
    # 3 frames, trained on 2, one channel, so scale 1. Farther than half of 2 is a distance of 2: frames 0 and 2.
    # Queries 1, 1, -1; keys 2, 0, 1. Logits:  2 0 1 | 2 0 1 | -2 0 -1. Frame 0 sees frame 2 with 1 -> 0.5;
    # frame 2 sees frame 0 with -2, which stays.
    values = column(1, 10, 100)
    seen = Decay(alpha=0.5).attend(column(1, 1, -1), column(2, 0, 1), values, Span(frames=3, trained=2), None)
    expected = []
    for logits in ((2, 0, 0.5), (2, 0, 1), (-2, 0, -1)):
        shares = [math.exp(logit) for logit in logits]
        expected.append(sum(share * value for share, value in zip(shares, (1, 10, 100), strict=True)) / sum(shares))
    torch.testing.assert_close(seen, column(*expected))


def naive_decay(q, k, v, alpha, distance, scale):
    """Return decayed attention, query by query and key by key."""
    frames = q.shape[2]
    seen = torch.zeros_like(v)
    for query in range(frames):
        logits = []
        for key in range(frames):
            logit = scale * (q[:, :, query] * k[:, :, key]).sum(-1)
            far = abs(query - key) > distance
            logits.append(torch.where(logit > 0, alpha * logit, logit) if far else logit)
        shares = torch.stack(logits, dim=-1).softmax(-1)
        seen[:, :, query] = (shares[..., None] * v).sum(2)
    return seen


@given(
    frames=st.integers(5, 24),
    channels=st.integers(1, 9),
    trained=st.integers(1, 4),
    alpha=st.floats(0.01, 1),
    distance=st.none() | st.floats(0, 10, width=32),  # frames are counted in float32
    scale=st.none() | st.floats(0.1, 3),
    seed=st.integers(0, 2**30),
)
def test_decay_equals_a_loop_over_queries_and_keys(frames, channels, trained, alpha, distance, scale, seed):
    q, k, v = random(frames, channels, seed)
    strategy = Decay(alpha=alpha, distance=distance)
    seen = strategy.attend(q, k, v, Span(frames=frames, trained=trained), scale)
    reach = trained / 2 if distance is None else distance
    expected = naive_decay(q, k, v, alpha, reach, channels**-0.5 if scale is None else scale)
    torch.testing.assert_close(seen, expected)


@given(frames=st.integers(5, 60), seed=st.integers(0, 2**30))
def test_decay_by_nothing_is_full_attention(frames, seed):
    q, k, v = random(frames, 8, seed)
    span = Span(frames=frames, trained=4)
    for strategy in (Decay(alpha=1), Decay(alpha=0.3, distance=frames)):
        full = AttentionStrategy().attend(q, k, v, span, None)
        torch.testing.assert_close(strategy.attend(q, k, v, span, None), full)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_decay_takes_the_softmax_in_float32(dtype):
    q, k, v = random(30, 16, 5, dtype)
    span = Span(frames=30, trained=8)
    seen = Decay().attend(q, k, v, span, None)
    assert seen.dtype == dtype
    exact = Decay().attend(q.double(), k.double(), v.double(), span, None)
    torch.testing.assert_close(seen.double(), exact, atol=8 * torch.finfo(dtype).eps, rtol=0)


@pytest.mark.parametrize(("option", "value"), [("alpha", 0), ("alpha", 1.1), ("alpha", "much"), ("distance", -1)])
def test_what_is_no_decay_is_refused(option, value):
    with pytest.raises(ConfigError, match=f"attention.{option} should be .*, got {value!r}"):
        REGISTRY.build("attention", {"name": "decay", option: value})


def test_local_global_worked_by_hand():
    # 5 frames, trained on 4, neighbours at 1, every 4th frame from the middle of a stride: frame 2; not the first one.
    # Seen: 0: 0 1 2; 1: 0 1 2; 2: 1 2 3; 3: 2 3 4; 4: 2 3 4. Three keys each: logits times log 3 / log 4 = 0.7925.
    q, k, v = column(1, 1, 1, 1, 2), column(1, 2, 0, -1, 3), column(1, 10, 100, 1000, 10000)
    strategy = LocalGlobal(radius=1, every=4, first=False)
    seen = strategy.attend(q, k, v, Span(frames=5, trained=4), None)
    factor = math.log(3) / math.log(4)
    expected = []
    for query, keys in zip((1, 1, 1, 1, 2), ((0, 1, 2), (0, 1, 2), (1, 2, 3), (2, 3, 4), (2, 3, 4)), strict=True):
        shares = [math.exp(factor * query * (1, 2, 0, -1, 3)[key]) for key in keys]
        expected.append(sum(share * 10.0**key for share, key in zip(shares, keys, strict=True)) / sum(shares))
    torch.testing.assert_close(seen, column(*expected))


@given(frames=st.integers(5, 60), data=st.data(), seed=st.integers(0, 2**30))
def test_a_query_is_sharpened_by_the_keys_that_it_sees(frames, data, seed):
    options = {
        "radius": data.draw(st.integers(1, 9)),
        "every": data.draw(st.integers(1, 9)),
        "first": data.draw(st.booleans()),
    }
    span, scale = Span(frames=frames, trained=data.draw(st.integers(2, 4))), data.draw(st.none() | st.floats(0.1, 3))
    q, k, v = random(frames, 4, seed)
    seen = LocalGlobal(**options).attend(q, k, v, span, scale)
    mask = Strided(**options).mask(span)
    for query in range(frames):
        keys = mask[query].nonzero().flatten().tolist()
        factor = math.log(len(keys)) / math.log(span.trained) * (0.5 if scale is None else scale)
        shares = (q[:, :, query, None] * k[:, :, keys]).sum(-1).mul(factor).softmax(-1)
        torch.testing.assert_close(seen[:, :, query], (shares[..., None] * v[:, :, keys]).sum(2))


def test_the_factor_is_one_where_a_query_sees_as_many_keys_as_in_training():
    # 2 neighbours on each side in the middle of the video: 5 keys, of a model trained on 5 frames.
    options, span = {"radius": 2, "every": 100, "first": False}, Span(frames=9, trained=5)
    q, k, v = random(9, 8, 0)
    plain, scaled = (kind(**options).attend(q, k, v, span, None) for kind in (Strided, LocalGlobal))
    assert Strided(**options).mask(span).sum(dim=1).tolist() == [3, 4, 5, 5, 5, 5, 5, 4, 3]
    assert torch.equal(plain[:, :, 2:7], scaled[:, :, 2:7])
    assert (plain[:, :, :2] - scaled[:, :, :2]).abs().amax(dim=(0, 1, 3)).min() > 1e-4


@pytest.mark.parametrize("name", ["decay", "local-global"])
def test_chunks_of_pixels_give_the_same(tiny_model, name):
    from longtake.core.engine.split import Split

    unet, generator = tiny_model.pipeline.unet, torch.Generator().manual_seed(0)
    given_ = (torch.randn(1, 19, 8, 5, 6, generator=generator), torch.tensor(0.3))
    more = (torch.randn(1, 1, 16, generator=generator), torch.tensor([[6.0, 127.0, 0.02]]))
    with torch.no_grad(), installed(unet, None, REGISTRY.build("attention", name)) as seams:
        whole = unet(*given_, *more, return_dict=False)[0]
        seams.engine.split = Split(1, keep=False)
        torch.testing.assert_close(unet(*given_, *more, return_dict=False)[0], whole, atol=1e-5, rtol=0)
