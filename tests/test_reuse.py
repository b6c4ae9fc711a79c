"""Deep features used again: the same input gives the same bits, and every n-th step works everything out."""

from __future__ import annotations

import pytest
import torch

from longtake import generate, installed
from longtake.core.engine.reuse import Reuse
from longtake.core.engine.skips import HostSkips
from longtake.core.engine.split import Split
from longtake.core.engine.transformer import Transformer

SMALL = {"width": 32, "height": 24, "steps": 5, "seed": 3}


def inputs(seed: int, frames: int = 5):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(1, frames, 8, 6, 8, generator=generator),
        torch.tensor(0.3),
        torch.randn(1, 1, 16, generator=generator),
        torch.tensor([[6.0, 127.0, 0.02]]),
    )


@torch.no_grad()
def call(unet, given_):
    return unet(*given_, return_dict=False)[0]


@pytest.mark.parametrize("host", [False, True])
def test_the_same_input_gives_the_same_bits_and_another_something_near(tiny_model, host):
    unet, first, second = tiny_model.pipeline.unet, inputs(0), inputs(1)
    ways = {"make_skips": lambda: HostSkips(torch.device("cpu"))} if host else {}
    with installed(unet, split=Split(40_000), **ways) as seams:
        exact = [call(unet, each) for each in (first, second)]
        seams.engine.reuse = Reuse()
        assert torch.equal(call(unet, first), exact[0])  # everything is worked out, and kept
        assert torch.equal(call(unet, first), exact[0])  # from what was kept
        near = call(unet, second)
        assert 1e-4 < (near - exact[1]).abs().max() < (exact[0] - exact[1]).abs().max()
        seams.conditional = False
        assert torch.equal(call(unet, second), exact[1])  # another branch has features of its own
        seams.conditional = True
        seams.engine.reuse.forget()
        assert torch.equal(call(unet, second), exact[1])


def test_most_steps_leave_the_deep_blocks_out_and_the_last_never_does(tiny_model, picture, builtins, monkeypatch):
    ran, run = [], Transformer.__call__

    def counted(self, *given_):
        ran.extend(given_[1])  # a token for each video
        return run(self, *given_)

    monkeypatch.setattr(Transformer, "__call__", counted)
    whole = {}
    for reuse in (1, 2, 3):
        ran.clear()
        options = {"frames": 6, "guidance": "constant", "reuse": reuse}
        result = generate(picture, model=tiny_model, plugins=builtins, **SMALL | options)
        whole[reuse] = (len(ran), result)
    blocks = whole[1][0] // 5
    shallow = whole[2][0] - 3 * blocks  # steps 0, 2 and 4 are whole
    assert 0 < shallow < 2 * blocks
    assert whole[3][0] == 3 * blocks + shallow  # steps 0, 3 and the last
    assert not torch.equal(whole[1][1].latents, whole[2][1].latents)
    assert "forward" not in vars(tiny_model.pipeline.unet)
