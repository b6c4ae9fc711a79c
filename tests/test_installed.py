"""Whatever is installed into the UNet is gone afterwards, and is nobody else's."""

from __future__ import annotations

import copy

import pytest
import torch
from unet_calls import call, everything_of, inputs

from longtake import installed
from longtake.core.engine.skips import Skips
from longtake.core.engine.split import Split
from longtake.core.errors import ModelError
from longtake.plugins.attention.freenoise import FreeNoiseWindows
from longtake.plugins.attention.strided import Strided
from longtake.positional.linear import Linear
from longtake.positional.yarn import Yarn


@pytest.fixture(scope="module")
def unet(tiny_model):
    return tiny_model.pipeline.unet


def test_the_seams_are_gone_after_the_block(unet):
    before, given_ = everything_of(unet), inputs(1, 6)
    stock, weights = call(unet, given_), {name: value.clone() for name, value in unet.state_dict().items()}
    with installed(unet, Yarn(), FreeNoiseWindows()):
        assert everything_of(unet) != before
        call(unet, given_)
    assert everything_of(unet) == before
    assert torch.equal(call(unet, given_), stock)
    assert all(torch.equal(value, weights[name]) for name, value in unet.state_dict().items())


def test_the_seams_are_gone_after_an_exception(unet):
    before = everything_of(unet)
    with pytest.raises(RuntimeError, match="in mid-run"), installed(unet, Yarn(), FreeNoiseWindows()):
        raise RuntimeError("in mid-run")
    assert everything_of(unet) == before


def test_enabling_twice_and_leaving_twice_ends_with_the_stock_model(unet):
    before, given_ = everything_of(unet), inputs(1, 8)
    with installed(unet, Linear()):
        once = call(unet, given_)
        with installed(unet, Linear()):
            assert torch.equal(call(unet, given_), once)
        assert torch.equal(call(unet, given_), once)
    assert everything_of(unet) == before


def test_within_a_block_work_is_shared_out_as_outside_unless_said(unet):
    split, made = Split(1000, keep=False), []

    def skips():
        made.append(Skips())
        return made[-1]

    with installed(unet, split=split, make_skips=skips), installed(unet, Linear()) as inner:
        assert inner.engine.split is split
        call(unet, inputs(1, 3))
        assert made
        with installed(unet, split=Split(5)) as innermost:
            assert innermost.engine.split == Split(5)


def test_two_models_configured_differently_never_see_each_other(unet):
    other, given_ = copy.deepcopy(unet), inputs(1, 8)
    with installed(unet, Linear()):
        alone = call(unet, given_)
    with installed(other, Yarn(), Strided()):
        alone_other = call(other, given_)
    with installed(unet, Linear()), installed(other, Yarn(), Strided()):
        assert torch.equal(call(unet, given_), alone)
        assert torch.equal(call(other, given_), alone_other)


@pytest.mark.parametrize("other", ["unet", None, torch.nn.Linear(2, 2)])
def test_only_the_unet_of_svd_takes_strategies(other):
    said = f"strategies go into an UNetSpatioTemporalConditionModel of diffusers, got {type(other).__name__}; of a pipe"
    with pytest.raises(ModelError, match=said), installed(other):
        pass
