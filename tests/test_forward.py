"""What the calls of one step share: the embeddings of noise level and conditioning, and their projections."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.overrides import TorchFunctionMode

from longtake import installed


class Multiplied(TorchFunctionMode):
    """Counts linear layers over a single row, by their weights."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[torch.Tensor] = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.nn.functional.linear:
            self.weights.append(args[1])
        return function(*args, **(kwargs or {}))

    def times(self, layers) -> list[int]:
        return [sum(weight is layer.weight for weight in self.weights) for layer in layers]


@pytest.fixture
def unet(tiny_model):
    return copy.deepcopy(tiny_model.pipeline.unet)


def told(unet) -> list[torch.nn.Linear]:
    """Return the layers that embed, and those that project what they give."""
    return [
        module
        for name, module in unet.named_modules()
        if isinstance(module, torch.nn.Linear) and ("time_embedding" in name or "add_embedding" in name)
    ] + [module.time_emb_proj for module in unet.modules() if hasattr(module, "time_emb_proj")]


def call(unet, sigma: float, token: float, *, bucket: float = 127.0, batch: int = 1, frames: int = 3) -> torch.Tensor:
    sample = torch.randn(batch, frames, 8, 6, 8, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[6.0, bucket, 0.02]] * batch)
    return unet(sample, torch.tensor(sigma), torch.full((batch, 1, 16), token), ids, return_dict=False)[0]


def alone(unet, *given, **more) -> torch.Tensor:
    with installed(unet):
        return call(unet, *given, **more)


calls = st.fixed_dictionaries(
    {
        "sigma": st.sampled_from([0.3, 0.4]),
        "token": st.sampled_from([0.0, 1.0]),
        "bucket": st.sampled_from([127.0, 10.0]),
        "batch": st.integers(1, 2),
        "frames": st.integers(1, 4),
    }
)


@given(st.lists(calls, min_size=2, max_size=6))
def test_a_call_gives_the_same_bits_whatever_came_before(tiny_model, asked):
    unet = tiny_model.pipeline.unet
    with installed(unet):
        after_others = [call(unet, **each) for each in asked]
    for each, made in zip(asked, after_others, strict=True):
        assert torch.equal(made, alone(unet, **each))


def test_both_branches_of_a_step_embed_once_and_the_next_step_anew(unet):
    layers = told(unet)
    assert len(layers) > 10
    with installed(unet), Multiplied() as seen:
        call(unet, 0.3, 1.0)
        call(unet, 0.3, 0.0)
        assert set(seen.times(layers)) == {1}
        call(unet, 0.3, 1.0, bucket=40.0)
        call(unet, 0.2, 1.0)
        assert set(seen.times(layers)) == {3}


def test_frames_that_are_told_something_of_their_own_project_it_each_time(unet):
    ids = torch.tensor([[[6.0, 100.0 + frame, 0.02] for frame in range(3)]])
    with installed(unet) as seams, Multiplied() as seen:
        seams.time_ids_BF3 = ids
        first, second = call(unet, 0.3, 1.0), call(unet, 0.3, 1.0)
    assert torch.equal(first, second)
    assert set(seen.times(told(unet))) == {1, 2}  # embedded once, projected twice


def test_layers_that_are_not_plain_are_asked_in_every_call(unet):
    project = next(module.time_emb_proj for module in unet.modules() if hasattr(module, "time_emb_proj"))
    asked = []
    for layer in (unet.time_embedding.linear_1, project):
        layer.register_forward_pre_hook(lambda layer, _: asked.append(layer))
    with installed(unet):
        for _ in range(3):
            call(unet, 0.3, 1.0)
    assert asked.count(unet.time_embedding.linear_1) == asked.count(project) == 3
