"""What the calls of one step share: the embeddings of noise level and conditioning, and their projections."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.overrides import TorchFunctionMode

from longtake import generate, installed
from longtake.core.run import Run


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
    with installed(unet) as seams:
        after_others = []
        for each in asked:
            seams.moment = each["sigma"]
            after_others.append(call(unet, **each))
    for each, made in zip(asked, after_others, strict=True):
        assert torch.equal(made, alone(unet, **each))


def test_both_branches_of_a_step_embed_once_and_the_next_step_anew(unet):
    layers = told(unet)
    assert len(layers) > 10
    with installed(unet) as seams, Multiplied() as seen:
        seams.moment = "first step"
        call(unet, 0.3, 1.0)
        call(unet, 0.3, 0.0)
        assert set(seen.times(layers)) == {1}
        seams.moment = "second step"
        call(unet, 0.2, 1.0)
        assert set(seen.times(layers)) == {2}


def test_frames_that_are_told_something_of_their_own_project_it_each_time(unet):
    ids = torch.tensor([[[6.0, 100.0 + frame, 0.02] for frame in range(3)]])
    with installed(unet) as seams, Multiplied() as seen:
        seams.time_ids_BF3, seams.moment = ids, "step"
        first, second = call(unet, 0.3, 1.0), call(unet, 0.3, 1.0)
    assert torch.equal(first, second)
    embedding, projecting = told(unet)[:4], told(unet)[4:]
    assert set(seen.times(embedding)) == {1}
    assert set(seen.times(projecting)) == {2}


def test_where_nobody_tells_steps_apart_nothing_is_shared(unet):
    """Weights may be others in the next call, for all that is known."""
    with installed(unet):
        before = call(unet, 0.3, 1.0)
        for layer in told(unet):
            layer.weight.data *= 1.5
        after = call(unet, 0.3, 1.0)
    assert (before - after).abs().max() > 1e-3
    assert torch.equal(after, alone(unet, 0.3, 1.0))


@pytest.mark.parametrize("at_once", [True, False])
def test_a_guided_generation_embeds_once_a_step_for_both_branches(tiny_model, picture, builtins, monkeypatch, at_once):
    monkeypatch.setattr(Run, "both_at_once", at_once)
    unet = tiny_model.pipeline.unet
    placed = [module.time_pos_embed.linear_1 for module in unet.modules() if hasattr(module, "time_pos_embed")]
    first = [unet.time_embedding.linear_1, unet.add_embedding.linear_1]
    with Multiplied() as seen:
        generate(
            picture,
            model=tiny_model,
            plugins=builtins,
            width=32,
            height=24,
            frames=6,
            steps=3,
            seed=1,
            guidance={"name": "constant", "scale": 2.0},
        )
    assert seen.times(first) == [3, 3]
    assert placed
    assert seen.times(placed) == [3] * len(placed)
