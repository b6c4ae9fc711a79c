"""longtake inside ComfyUI, on stand-ins: the same numbers as by itself, in clones only, and nothing left behind."""

from __future__ import annotations

import copy

import pytest
import torch
from comfy_compared import REGISTRY, close, sampled_by_longtake
from comfy_model import FRAMES, PATCHERS, TRAINED, ModelPatcher, SVD_img2vid, load
from comfy_stand_ins import Euler, InterruptProcessingException, sampled

from longtake import AttentionStrategy, PositionalStrategy, Span
from longtake.core.course import Course
from longtake.core.errors import LongtakeError, ModelError
from longtake.core.testing import example_options
from longtake.plugins.attention.decay import Decay
from longtake.plugins.attention.freenoise import FreeNoiseWindows
from longtake.plugins.attention.full import Full
from longtake.plugins.attention.looped import Looped
from longtake.plugins.comfy import patches
from longtake.plugins.comfy.patches import Attention, Block, Positions, patched, seams_of, transformers
from longtake.plugins.comfy.sampling import ComfyNoise, ComfySampler, guided
from longtake.positional.dynamic import Dynamic
from longtake.positional.linear import Linear
from longtake.positional.none import Unchanged
from longtake.positional.ntk import Ntk
from longtake.schedules.guidance import Constant
from longtake.schedules.noise import Independent

INSIDE = ("positional", "attention")


@pytest.fixture(scope="module")
def unet(tiny_model):
    return tiny_model.pipeline.unet


@pytest.fixture(scope="module", params=PATCHERS, ids=lambda each: each.__name__)
def model(unet, request):
    """A loaded model; tests must leave it as it is."""
    return request.param(SVD_img2vid(unet))


@pytest.fixture(scope="module")
def plain(model):
    """What ComfyUI makes without longtake."""
    return sampled(model)


@pytest.fixture(scope="module")
def short(model):
    """What it makes of as many frames as the model was trained on."""
    return sampled(model, frames=TRAINED)


def everything_of(model) -> list[tuple[str, int, tuple[str, ...]]]:
    """Return which module stands where, and what it has, once the model is loaded: all that could stay behind."""
    return [(name, id(module), tuple(sorted(vars(module)))) for name, module in load(model).named_modules()]


def built(kind: str, name: str):
    return REGISTRY.build(kind, {"name": name} | example_options(REGISTRY.classes[kind][name]))


def test_the_stand_in_is_svd(plain, tiny_model):
    """Without this the comparisons below would say nothing."""
    close(plain, sampled_by_longtake(tiny_model))


@pytest.mark.parametrize("kind_and_name", [(kind, name) for kind in INSIDE for name in sorted(REGISTRY.classes[kind])])
def test_every_strategy_gives_what_longtakes_own_loop_gives(model, plain, tiny_model, kind_and_name):
    kind, name = kind_and_name
    strategy = built(kind, name)
    made = sampled(patched(model, TRAINED, **{kind: strategy}))
    close(made, sampled_by_longtake(tiny_model, **{kind: strategy}))
    assert torch.equal(made, plain) == (name in ("none", "full"))


@pytest.mark.parametrize(
    "strategy",
    [
        Full(key_scale=0.8),
        Full(temperature=Course.of({"steps": [1.0, 1.5]})),
        Full(value_scale=Course.of([0.5, 1.0])),
        FreeNoiseWindows(positions="local", stride=2),
        FreeNoiseWindows(window=6, stride=3, query_scale=1.2),
        Looped(stride=3),
        Decay(alpha=0.5, start=0.5),
    ],
    ids=str,
)
def test_factors_and_local_windows_too(model, tiny_model, strategy):
    both = {"positional": Linear(align="ends"), "attention": strategy}
    made = sampled(patched(model, TRAINED, **both))
    close(made, sampled_by_longtake(tiny_model, **both))
    assert not torch.equal(made, sampled(patched(model, TRAINED, Linear(align="ends"))))


def test_pixels_are_attended_over_in_pieces_of_any_size(model, monkeypatch):
    whole = sampled(patched(model, TRAINED, attention=FreeNoiseWindows()))
    monkeypatch.setattr(patches, "PIXELS", 5)
    torch.testing.assert_close(
        sampled(patched(model, TRAINED, attention=FreeNoiseWindows())), whole, atol=1e-4, rtol=1e-4
    )


def test_a_strategy_acts_at_its_steps_and_knows_how_far_it_is(model, tiny_model):
    for strategy in (Ntk(start=0.5), Ntk(stop=0.5), Dynamic(first=0.0, last=1.0)):
        made = sampled(patched(model, TRAINED, strategy), steps=3)
        close(made, sampled_by_longtake(tiny_model, steps=3, positional=strategy))


@pytest.mark.parametrize("frames", [TRAINED, FRAMES])
def test_neutral_nodes_change_no_bit(model, plain, short, frames):
    plain = short if frames == TRAINED else plain
    neutral = patched(patched(model, TRAINED, Unchanged()), TRAINED, attention=Full())
    assert torch.equal(sampled(guided(neutral, Constant(scale=2.0), TRAINED), frames=frames), plain)
    assert torch.equal(sampled(model, frames=frames, noise=ComfyNoise(5, Independent(), TRAINED)), plain)
    joint = ComfySampler(Euler(), REGISTRY.build("sampling", "joint"))
    assert torch.equal(sampled(model, frames=frames, sampler=joint), plain)


@pytest.mark.parametrize("kind_and_name", [(kind, name) for kind in INSIDE for name in sorted(REGISTRY.classes[kind])])
def test_no_strategy_changes_a_bit_where_there_is_nothing_to_stretch(model, short, kind_and_name):
    kind, name = kind_and_name
    assert torch.equal(sampled(patched(model, TRAINED, **{kind: built(kind, name)}), frames=4), short)


def test_attention_that_is_left_alone_is_comfyuis_own(model, monkeypatch):
    """Whatever kernel ComfyUI is set to, a node that changes nothing does not bring another one."""

    def refuse(*_args, **_kwargs):
        raise AssertionError("longtake attended")

    monkeypatch.setattr(patches.ToldSeams, "attend", refuse)
    sampled(patched(model, TRAINED, Linear(), Full()))
    sampled(patched(model, TRAINED, Linear(), Decay()), frames=TRAINED)
    with pytest.raises(AssertionError, match="longtake attended"):
        sampled(patched(model, TRAINED, Linear(), Full(key_scale=0.9)))


def test_clones_do_not_see_one_another_and_the_model_stays(model, plain):
    before = everything_of(model)
    first, second = patched(model, TRAINED, Linear()), patched(model, TRAINED, attention=Decay())
    apart = [sampled(first), sampled(second)]
    assert not torch.equal(apart[0], apart[1])
    # Queued again and again in any order, as with nodes that ComfyUI has cached.
    for clone, expected in (
        (second, apart[1]),
        (first, apart[0]),
        (model, plain),
        (first, apart[0]),
        (first, apart[0]),
    ):
        assert torch.equal(sampled(clone), expected)
    assert not model.object_patches
    assert everything_of(model) == before


def test_a_later_node_acts_first_and_the_one_before_where_it_does_not(model, tiny_model):
    first = patched(model, TRAINED, Linear(), Full(key_scale=0.9))
    close(sampled(patched(first, TRAINED, Ntk())), sampled_by_longtake(
        tiny_model, positional=Ntk(), attention=Full(key_scale=0.9)
    ))  # fmt: skip
    early = sampled(patched(first, TRAINED, Ntk(start=1.0)), steps=3)
    assert not torch.equal(early, sampled(first, steps=3))
    assert torch.equal(sampled(patched(first, TRAINED, Ntk(start=0.2, stop=0.3)), steps=3), sampled(first, steps=3))
    assert [each.trained for each in seams_of(patched(first, 3, Ntk())).all()] == [3, TRAINED]


def test_an_interrupt_leaves_nothing_behind(model, plain):
    clone = patched(model, TRAINED, Linear(), FreeNoiseWindows(positions="local"))
    before, expected = everything_of(model), sampled(clone)

    def press(step, *_):
        if step == 0:
            raise InterruptProcessingException

    with pytest.raises(InterruptProcessingException):
        sampled(clone, callback=press)
    inner, calls = model.model.apply_model, []

    def failing(*args, **kwargs):
        calls.append(seams_of(clone).told)
        raise InterruptProcessingException

    model.model.apply_model = failing
    try:
        with pytest.raises(InterruptProcessingException):
            sampled(clone)
    finally:
        model.model.apply_model = inner
        del model.model.apply_model
    assert calls == [True]
    assert not seams_of(clone).told
    assert torch.equal(sampled(model), plain)
    assert everything_of(model) == before
    assert torch.equal(sampled(clone), expected)


def test_only_modules_of_the_temporal_blocks_are_patched_and_weights_keep_their_names(model):
    names = transformers(model)
    assert names == [f"diffusion_model.{name}" for name in ("input_blocks.0.1", "middle_block.1", "output_blocks.0.1",
                                                            "output_blocks.1.1")]  # fmt: skip
    clone = patched(model, TRAINED, Linear())
    kinds = {Positions: "time_pos_embed", Block: "time_stack.0", Attention: "time_stack.0.attn1"}
    assert set(clone.object_patches) == {f"{name}.{kinds[kind]}" for name in names for kind in (Positions, Attention)}
    full = patched(model, TRAINED, attention=Full())
    assert set(full.object_patches) == {f"{name}.{path}" for name in names for path in kinds.values()}
    assert all(
        isinstance(full.object_patches[f"{name}.{path}"], kind) for name in names for kind, path in kinds.items()
    )
    stock = {name: each.data_ptr() for name, each in load(model).state_dict().items()}
    assert {name: each.data_ptr() for name, each in load(full).state_dict().items()} == stock
    assert list(load(full).state_dict()) == list(stock)
    load(model)


def test_weights_that_are_patched_are_used_and_put_back(model, plain):
    name = f"{transformers(model)[0]}.time_stack.0.attn1.to_v.weight"
    change = {name: torch.full_like(model.model.state_dict()[name], 0.05)}
    first = patched(model, TRAINED, attention=Full(key_scale=0.9))
    without = sampled(first)
    adapted = first.clone()
    assert adapted.add_patches(change) == [name]
    assert not torch.equal(sampled(adapted), without)
    before = model.clone()
    before.add_patches(change)
    assert torch.equal(sampled(patched(before, TRAINED, attention=Full(key_scale=0.9))), sampled(adapted))
    assert torch.equal(sampled(first), without)
    assert torch.equal(sampled(model), plain)


def test_a_patched_module_can_be_copied(model):
    clone = patched(model, TRAINED, Linear())
    module = clone.get_model_object(f"{transformers(model)[0]}.time_stack.0.attn1")
    copied = copy.deepcopy(module)
    assert copied.heads == module.heads
    assert copied.to_q is not module.to_q
    assert torch.equal(copied.to_q.weight, module.to_q.weight)
    with pytest.raises(AttributeError):
        _ = module.nothing_of_the_kind


def test_another_function_around_the_model_is_called_too(model):
    seen = []

    def other(apply_model, args):
        seen.append(float(args["timestep"][0]))
        return apply_model(args["input"], args["timestep"], **args["c"])

    clone = model.clone()
    clone.set_model_unet_function_wrapper(other)
    assert torch.equal(sampled(patched(clone, TRAINED, Linear())), sampled(patched(model, TRAINED, Linear())))
    assert seen == [pytest.approx(700.0, rel=1e-4), pytest.approx(0.002, rel=1e-3)]
    late = patched(model, TRAINED, Linear())
    late.set_model_unet_function_wrapper(other)
    with pytest.raises(LongtakeError, match="does not know at which step the UNet is called: another node has taken"):
        sampled(late)
    with pytest.raises(LongtakeError, match="does not know at which step"):
        sampled(patched(late, TRAINED, attention=Full()))


def test_a_sampler_that_does_not_say_its_sigmas_is_refused(model):
    clone = patched(model, TRAINED, Linear())
    wrapper = clone.model_options["model_function_wrapper"]
    given = {"input": torch.zeros(4, 4, 6, 8), "timestep": torch.ones(4), "c": {"transformer_options": {}}}
    with pytest.raises(LongtakeError, match=r"does not say through which sigmas it goes \(transformer_options"):
        wrapper(model.model.apply_model, given)


def test_a_model_without_temporal_blocks_is_refused():
    other = torch.nn.Module()
    other.diffusion_model = torch.nn.Linear(2, 2)
    with pytest.raises(ModelError, match="need Stable Video Diffusion, and this model, Module, has no temporal blocks"):
        patched(ModelPatcher(other), TRAINED, Linear())


def test_attention_that_others_have_changed_is_refused_where_a_strategy_would_act(model):
    clone = patched(model, TRAINED, Linear(), Full(key_scale=0.9))
    attention = clone.get_model_object(f"{transformers(model)[0]}.time_stack.0.attn1")
    states = torch.randn(6, FRAMES, 32)
    with pytest.raises(ModelError, match="another node changes which frames temporal attention sees"):
        attention(states, states[:, :2])
    with pytest.raises(ModelError, match="another node changes which frames temporal attention sees"):
        attention(states, mask=torch.ones(FRAMES, FRAMES, dtype=torch.bool))
    torch.testing.assert_close(attention(states, states, states), attention(states))


class Sampled(AttentionStrategy):
    """Keep what it was told, and see nothing else than the model does."""

    name = "sampled"

    def attend(self, q_PNFD, k_PNFD, v_PNFD, span, scale):
        TOLD.append((span, len(q_PNFD)))
        return super().attend(q_PNFD, k_PNFD, v_PNFD, span, scale)

    def whole_frames(self, span):
        return True


class Hot(PositionalStrategy):
    """Only a temperature."""

    name = "hot"

    def temperature(self, span):
        return 1.5 if span.frames > span.trained else 1.0


TOLD: list[tuple[Span, int]] = []


def test_a_strategy_of_a_third_party_is_told_frames_step_and_whole_frames_of_one_video(model, tiny_model):
    TOLD.clear()
    sampled(patched(model, TRAINED, attention=Sampled()), steps=3)
    assert {(span.frames, span.trained, span.step, span.progress) for span, _ in TOLD} == {
        (FRAMES, TRAINED, step, step / 2) for step in range(3)
    }
    # Both branches at two levels of the UNet, one video after another.
    assert {(span.rows, span.columns, pixels) for span, pixels in TOLD} == {(6, 8, 48), (3, 4, 12)}
    close(sampled(patched(model, TRAINED, Hot())), sampled_by_longtake(tiny_model, positional=Hot()))
