"""Factors that every attention strategy takes: on queries, keys, values and logits, in temporal attention alone."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import longtake
from longtake import AttentionStrategy, Span, installed, load_config, make_plan, read_facts, resolve
from longtake.core.course import Course
from longtake.core.engine import linear, transformer
from longtake.core.errors import ConfigError
from longtake.core.modifiers import MODIFIERS, attend_modified

REGISTRY = longtake.load_plugins(third_party=False).registry
SVD = read_facts("stabilityai/stable-video-diffusion-img2vid")
COURSES = [0.8, [1.0, 0.5], {"steps": [1.5, 0.7, 1.1]}]
values = st.lists(st.floats(0, 4), min_size=1, max_size=9)


def attention(name="full", **options):
    return REGISTRY.build("attention", {"name": name} | options)


@given(given_=st.floats(0, 4) | values | values.map(lambda each: {"steps": each}))
def test_a_course_survives_being_written_and_read(given_):
    strategy = attention(key_scale=given_)
    assert strategy.key_scale.dump() == given_
    assert attention(**{key: value for key, value in strategy.dump().items() if key != "name"}) == strategy
    assert hash(strategy) == hash(attention(key_scale=given_))


@given(several=st.lists(st.floats(0, 4), min_size=1, max_size=40))
def test_as_many_values_as_frames_are_those_of_the_frames(several):
    assert Course.of(several).at(Span(frames=len(several), trained=4)).tolist() == several


@given(several=st.lists(st.floats(0, 4), min_size=2, max_size=9), frames=st.integers(2, 200))
def test_values_are_spread_evenly_with_straight_lines_between(several, frames):
    course = Course.of(several).at(Span(frames=frames, trained=4))
    assert course[0] == several[0]
    torch.testing.assert_close(course[-1].item(), several[-1])
    for frame in range(frames):
        along = frame * (len(several) - 1) / (frames - 1)
        before = min(int(along), len(several) - 2)
        expected = several[before] + (along - before) * (several[before + 1] - several[before])
        assert course[frame].item() == pytest.approx(expected, abs=1e-9)


def test_values_over_the_steps_worked_by_hand():
    course = Course.of({"steps": [1, 2, 0]})
    at = [course.at(Span(frames=9, trained=4, progress=progress)) for progress in (0, 0.25, 0.5, 0.75, 1)]
    assert at == [1, 1.5, 2, 1, 0]
    assert Course.of([1, 2]).at(Span(frames=1, trained=4)).tolist() == [1]


@pytest.mark.parametrize("bad", ["much", -0.1, float("inf"), [], [1, -1], {"steps": []}, {"steps": 1}, {"frames": [1]}])
def test_what_is_no_course_is_refused(bad):
    with pytest.raises(
        ConfigError, match="attention.key_scale: should be a number that is not negative, a list of"
    ) as caught:
        attention(key_scale=bad)
    assert str(caught.value).endswith(f"got {bad!r}")


def test_a_boolean_is_no_course():
    with pytest.raises(ConfigError, match="attention.key_scale: should not be a boolean, got True"):
        attention(key_scale=True)


def naive(strategy, q, k, v, span, scale=0.5):
    """Return modified attention by its formula: softmax(temperature · scale · (a q)·(b k)) (c v), frame by frame."""
    query, key, value, heat = (getattr(strategy, name).at(span) for name in MODIFIERS)
    factors = [torch.as_tensor(each, dtype=q.dtype).expand(span.frames) for each in (query, key, value, heat)]
    q, k, v = (each * factor[:, None] for each, factor in zip((q, k, v), factors[:3], strict=True))
    mask = strategy.mask(span)
    logits = factors[3][:, None] * scale * (q @ k.mT)
    return (logits if mask is None else logits.masked_fill(~mask, -torch.inf)).softmax(-1) @ v


@given(
    options=st.fixed_dictionaries(
        {name: st.floats(0, 3) | values | values.map(lambda each: {"steps": each}) for name in MODIFIERS}
    ),
    frames=st.integers(1, 30),
    progress=st.floats(0, 1),
    name=st.sampled_from(["full", "strided"]),
)
def test_attention_equals_the_formula(options, frames, progress, name):
    strategy, span = attention(name, **options), Span(frames=frames, trained=4, progress=progress)
    generator = torch.Generator().manual_seed(frames)
    q, k, v = torch.randn(3, 2, 2, frames, 4, generator=generator, dtype=torch.float64)
    for scale in (None, 0.2):
        seen = attend_modified(strategy, q, k, v, span, scale)
        torch.testing.assert_close(seen, naive(strategy, q, k, v, span, 0.5 if scale is None else scale))


@pytest.mark.parametrize("name", ["freenoise", "looped", "strided", "decay", "local-global"])
def test_every_strategy_sees_what_has_been_modified(name):
    options = {"key_scale": [0.5, 2], "query_scale": {"steps": [0.5, 1]}, "value_scale": 3, "temperature": [2, 1, 1]}
    plain, modified, span = attention(name), attention(name, **options), Span(frames=19, trained=6, progress=0.5)
    q, k, v = torch.randn(3, 2, 2, 19, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    at = {key: torch.as_tensor(getattr(modified, key).at(span)).expand(19)[:, None] for key in MODIFIERS}
    expected = plain.attend(
        q * at["query_scale"] * at["temperature"], k * at["key_scale"], v * at["value_scale"], span, None
    )
    torch.testing.assert_close(attend_modified(modified, q, k, v, span, None), expected)
    assert torch.equal(attend_modified(plain, q, k, v, span, None), plain.attend(q, k, v, span, None))


@pytest.fixture(scope="module")
def unet(tiny_model):
    return tiny_model.pipeline.unet


@torch.no_grad()
def call(unet, frames, attention=None, progress=0.0):
    generator = torch.Generator().manual_seed(frames)
    sample, token = torch.randn(2, frames, 8, 6, 8, generator=generator), torch.randn(2, 1, 16, generator=generator)
    with installed(unet, None, attention) as seams:
        seams.progress = progress
        return unet(sample, torch.tensor(0.3), token, torch.tensor([[6.0, 127.0, 0.02]] * 2), return_dict=False)[0]


@pytest.mark.parametrize(("option", "layer"), [("key_scale", "to_k"), ("query_scale", "to_q"), ("value_scale", "to_v")])
@pytest.mark.parametrize("frames", [3, 9])
def test_a_factor_is_that_of_a_projection_of_temporal_self_attention(unet, option, layer, frames):
    """Oracle: the weights of that projection multiplied in every temporal attn1; at any length."""
    oracle = copy.deepcopy(unet)
    for module in oracle.modules():
        for block in getattr(module, "temporal_transformer_blocks", ()):
            getattr(block.attn1, layer).weight.data *= 1.7
    changed = call(unet, frames, attention(**{option: 1.7}))
    torch.testing.assert_close(changed, call(oracle, frames), atol=1e-5, rtol=0)
    assert (changed - call(unet, frames)).abs().max() > 1e-6


@pytest.mark.parametrize("option", MODIFIERS)
def test_what_is_one_changes_no_bit_and_steps_follow_the_denoising(unet, option):
    plain = call(unet, 7)
    for one in (1, {"steps": [1, 1]}, [1, 1, 1]):
        assert torch.equal(call(unet, 7, attention(**{option: one})), plain)
    falling = attention(**{option: {"steps": [1, 0.5]}})
    assert torch.equal(call(unet, 7, falling), plain)
    assert torch.equal(call(unet, 7, falling, progress=1), call(unet, 7, attention(**{option: 0.5})))
    assert torch.equal(call(unet, 7, attention(**{option: 0.5}, start=0.5), progress=0.2), plain)


def test_spatial_and_cross_attention_do_not_know_of_factors(unet, monkeypatch):
    """Each, with factors on, gives to the bit what diffusers' own layer makes of its input."""
    spatial, cross, model = [], [], copy.deepcopy(unet)
    within, bias = transformer._attend_within_frames, transformer.token_bias
    before = [(name, type(module), tuple(sorted(vars(module)))) for name, module in model.named_modules()]
    weights = {name: value.clone() for name, value in model.state_dict().items()}

    def record_within(block, tokens, bias_VC):
        made = within(block, tokens, bias_VC)
        spatial.append((block, tokens.clone(), bias_VC[0].clone(), made.clone()))
        return made

    def record_bias(block, token):
        made = bias(block, token)
        cross.append((block, token.clone(), made.clone()))
        return made

    monkeypatch.setattr(transformer, "_attend_within_frames", record_within)
    monkeypatch.setattr(transformer, "token_bias", record_bias)
    options = {"key_scale": [0.3, 2], "query_scale": 0.5, "value_scale": {"steps": [3, 1]}, "temperature": [2, 1, 1]}
    # One kernel for linear layers, that of diffusers: another one's sums have another order.
    monkeypatch.setattr(linear, "THERE", False)
    with torch.no_grad():
        call(model, 7, attention("strided", **options))
        assert len(spatial) == 2 * 4
        assert len(cross) == 2 * len(spatial)
        for block, tokens, bias_C, made in spatial:
            layer = copy.deepcopy(block.attn1)
            layer.to_out[0].bias.data += bias_C
            assert torch.equal(layer(block.norm1(tokens)), made)
        for block, token, made in cross:
            query = torch.randn(1, 1, block.attn2.to_q.in_features)
            assert torch.equal(block.attn2(query, encoder_hidden_states=token[None])[0], made)
    assert [(name, type(module), tuple(sorted(vars(module)))) for name, module in model.named_modules()] == before
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def plan(**asked):
    return make_plan(resolve(load_config({"frames": 30, "seed": 1} | asked, REGISTRY), SVD, REGISTRY), SVD)


@pytest.mark.parametrize("option", MODIFIERS)
def test_values_over_the_frames_are_refused_where_windows_count_from_zero(unet, option):
    local = {"name": "freenoise", "positions": "local", option: [1, 0.5]}
    message = f"attention.{option} changes over the frames, .* each window of 'freenoise' counts from zero and does not"
    for start in (0, 0.5):  # also where the windows come later than the step that is shown
        with pytest.raises(ConfigError, match=message):
            plan(attention=local | {"start": start})
    with pytest.raises(ConfigError, match=message):
        call(unet, 9, attention(**local))
    for allowed in (local | {option: {"steps": [1, 0.5]}}, local | {"positions": "global"}):
        assert plan(attention=allowed).windows is not None
    assert plan(attention=local, frames=14).windows is None  # no windows, so every frame is known


class Own(AttentionStrategy):
    """An option that happens to be called as one of ours, with a meaning of its own."""

    name = "own"
    temperature: float = 3.0


def test_an_option_of_the_same_name_stays_a_strategys_own():
    q, k, v = torch.randn(3, 2, 2, 7, 4, generator=torch.Generator().manual_seed(0))
    span = Span(frames=7, trained=4)
    assert torch.equal(attend_modified(Own(), q, k, v, span, None), Own().attend(q, k, v, span, None))


def test_factors_stand_at_the_end_of_every_attention_strategy():
    from longtake.core.cli.listing import strategy_rows

    rows = {row["name"]: row["options"] for row in strategy_rows(REGISTRY) if row["kind"] == "attention"}
    shared = ["start", "stop", "key_scale", "query_scale", "value_scale", "temperature"]
    for options in rows.values():
        assert [option["name"] for option in options][-6:] == shared
    assert rows["freenoise"][-4] | {"description": ""} == {
        "name": "key_scale",
        "default": 1.0,
        "required": False,
        "type": "number >= 0 or list or mapping",
        "description": "",
    }
