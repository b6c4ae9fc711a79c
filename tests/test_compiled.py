"""Compiled pieces: the same numbers, whole graphs, and nothing compiled anew when only the step changes."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch._dynamo import config as dynamo
from torch._dynamo.utils import counters
from torch._inductor.exc import InductorError

import longtake.core.engine.resblock as engine
from longtake import generate, installed
from longtake.core.engine.compiled import compiled
from longtake.core.engine.resblock import spatial_resnet
from longtake.core.engine.split import Split
from longtake.core.errors import LongtakeError


@pytest.fixture(params=["eager", pytest.param("inductor", marks=pytest.mark.slow)])
def backend(request, monkeypatch):
    """What runs the graphs: either as they are, or compiled, which takes minutes."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=request.param))
    compiled.cache_clear()
    yield request.param
    compiled.cache_clear()


@pytest.mark.parametrize("videos", [1, 2])
@torch.no_grad()
def test_compiled_pieces_give_the_same_numbers_at_every_step(tiny_model, builtins, backend, videos):
    """A graph that breaks would be refused, as every piece is compiled whole."""
    counters.clear()
    unet = tiny_model.pipeline.unet
    build = builtins.registry.build
    strategies = build("positional", {"name": "dynamic", "first": 0}), build("attention", "freenoise")

    def inputs(seed: int):
        generator = torch.Generator().manual_seed(seed)
        sample = torch.randn(videos, 6, 8, 6, 8, generator=generator)
        tokens = torch.randn(videos, 1, 16, generator=generator)
        return sample, torch.tensor(0.1 * seed), tokens, torch.ones(videos, 3)

    with installed(unet, *strategies, split=Split(60_000, compiled=True, videos=videos)) as seams:
        unet(*inputs(0))
        assert counters["stats"]["unique_graphs"] > 0
        made = []
        with dynamo.patch(error_on_recompile=True):
            for step in range(1, 4):
                seams.progress = step / 3
                made.append(unet(*inputs(step), return_dict=False)[0])
    with installed(unet, *strategies) as seams:
        for step in range(1, 4):
            seams.progress = step / 3
            expected = unet(*inputs(step), return_dict=False)[0]
            torch.testing.assert_close(made[step - 1], expected, atol=1e-5, rtol=0)


def test_where_nothing_can_be_compiled_it_is_said_so(tiny_folder, picture, monkeypatch):
    def refuse(*_, **__):
        raise InductorError(RuntimeError("no compiler to be found"), None)

    def another(*given):  # that has not been compiled by another test, so that the compiler is needed
        return spatial_resnet(*given)

    monkeypatch.setattr(engine, "spatial_resnet", another)
    monkeypatch.setattr("torch._inductor.compile_fx.compile_fx", refuse)
    asked = {"device": "cpu", "frames": 3, "steps": 1, "width": 32, "height": 24, "compile": True}
    with pytest.raises(LongtakeError, match="torch.compile fails here: .*no compiler to be found.*leave --compile out"):
        generate(picture, model=str(tiny_folder), **asked)
