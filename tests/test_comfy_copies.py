"""Models that ComfyUI, or another node pack, copies: what longtake keeps in them goes along and is still told."""

from __future__ import annotations

import copy

import pytest
import torch
from comfy_model import PATCHERS, TRAINED, ModelPatcher, SVD_img2vid
from comfy_stand_ins import Euler, sampled

from longtake.plugins.attention.decay import Decay
from longtake.plugins.attention.freenoise import FreeNoiseWindows
from longtake.plugins.comfy.patches import patched, seams_of, transformers
from longtake.plugins.comfy.sampling import ComfySampler, guided
from longtake.plugins.sampling.freeinit import FreeInit
from longtake.positional.linear import Linear
from longtake.positional.ntk import Ntk
from longtake.schedules.guidance import Linear as LinearGuidance


@pytest.fixture(scope="module", params=PATCHERS, ids=lambda each: each.__name__)
def model(tiny_model, request):
    """A loaded model; tests must leave it as it is."""
    return request.param(SVD_img2vid(tiny_model.pipeline.unet))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_what_lies_in_a_models_options_survives_copies_as_itself(model, copied):
    options = guided(patched(model, TRAINED, Linear()), LinearGuidance(), TRAINED).model_options
    again = {name: copied(value) for name, value in options.items()}
    assert again["model_function_wrapper"] is options["model_function_wrapper"]
    assert copied(options["model_function_wrapper"].seams) is options["model_function_wrapper"].seams
    (guidance,), (same,) = options["sampler_post_cfg_function"], again["sampler_post_cfg_function"]
    assert copied(guidance) is guidance is same


def test_clones_of_clones_give_the_same_however_often_they_are_cloned(model):
    once = patched(model, TRAINED, Linear(), FreeNoiseWindows(positions="local"))
    expected = sampled(once)
    assert torch.equal(sampled(once.clone().clone()), expected)
    both = guided(patched(once, TRAINED, Ntk()), LinearGuidance(), TRAINED)
    assert torch.equal(sampled(both.clone()), sampled(both))
    assert torch.equal(sampled(once), expected)


def test_options_that_another_pack_copies_deeply_still_tell_the_step(model):
    first = patched(model, TRAINED, attention=Decay())
    other = first.clone()
    other.model_options = copy.deepcopy(other.model_options)
    assert torch.equal(sampled(other), sampled(first))
    assert torch.equal(sampled(patched(other, TRAINED, Ntk())), sampled(patched(first, TRAINED, Ntk())))


class Outside:
    """A function around the model, of another pack, that is an object and holds the one before it."""

    def __init__(self, before):
        self.before = before

    def __call__(self, apply_model, args):
        return self.before(apply_model, args)


def test_a_pack_whose_own_function_holds_ours_may_copy_it(model):
    first = patched(model, TRAINED, attention=Decay())
    around = first.clone()
    around.set_model_unet_function_wrapper(Outside(around.model_options["model_function_wrapper"]))
    assert torch.equal(sampled(copy.deepcopy(around.clone())), sampled(first))


def test_a_copy_of_a_whole_model_is_told_by_the_options_of_either(tiny_model):
    model = ModelPatcher(SVD_img2vid(tiny_model.pipeline.unet))
    clone = patched(model, TRAINED, attention=Decay())
    again = copy.deepcopy(clone)
    assert again.model is not clone.model
    assert seams_of(again) is seams_of(clone)
    assert torch.equal(sampled(again), sampled(clone))


class CopiesItself(Euler):
    """A sampler, or a layer, of another pack with its own idea of a copy."""

    def __deepcopy__(self, memo):
        return type(self)()


class LayerThatCopiesItself(torch.nn.Linear):
    def __deepcopy__(self, memo):
        return torch.nn.Linear(1, 1)


def test_how_others_copy_themselves_is_not_how_ours_are_copied(model):
    sampler = copy.deepcopy(ComfySampler(CopiesItself(), FreeInit(iterations=2)))
    assert isinstance(sampler, ComfySampler)
    assert sampler.strategy == FreeInit(iterations=2)
    clone = patched(model, TRAINED, Linear())
    name = f"{transformers(model)[0]}.time_pos_embed"
    ours = type(clone.get_model_object(name))(LayerThatCopiesItself(2, 2), seams_of(clone))
    assert type(copy.deepcopy(ours)) is type(ours)
