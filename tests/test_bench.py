"""The bench: contenders take turns, ratios are within a round, and whoever runs out of memory is told."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from functools import partial

import pytest
import torch
from click.testing import CliRunner

from longtake.plugins.bench.commands import bench
from longtake.plugins.bench.contenders import DECODE, UNET
from longtake.plugins.bench.models import SIZES, random_unet, random_vae
from longtake.plugins.bench.page import read_results, table
from longtake.plugins.bench.pairs import compare

CPU = torch.device("cpu")
TINY = SIZES["tiny"]


@contextmanager
def waiting(seconds, calls, name):
    def call():
        calls.append(name)
        if seconds is None:
            raise torch.OutOfMemoryError("no more")
        time.sleep(seconds)

    yield call


def test_contenders_take_turns_and_ratios_are_those_of_a_round():
    calls = []
    ways = {"diffusers": 0.03, "twice as fast": 0.015, "large": None}
    contenders = {name: partial(waiting, seconds, calls, name) for name, seconds in ways.items()}
    base, fast, large = compare("unet", 5, contenders, 3, CPU)
    assert calls == ["diffusers", "twice as fast", "large", *["diffusers", "twice as fast"] * 3]
    assert base.ratios == [1, 1, 1]
    assert fast.ratios == [slow / quick for slow, quick in zip(base.seconds, fast.seconds, strict=True)]
    assert all(ratio > 1 for ratio in fast.ratios)
    assert (large.seconds, large.ratio()) == ([], "out of memory")
    text = table([base, fast, large], "unet")
    assert text.splitlines()[0] == "| | 5 frames |"
    assert "| large | out of memory |" in text
    with pytest.raises(AssertionError, match="diffusers first"):
        compare("unet", 5, {"other": contenders["large"]}, 1, CPU)


@torch.no_grad()
def test_all_contenders_give_the_same_numbers():
    torch.manual_seed(0)
    unet, vae = random_unet(TINY, CPU, torch.float32), random_vae(TINY, CPU, torch.float32)
    latents = torch.randn(5, 4, TINY.rows, TINY.columns)
    told = torch.tensor([[6.0, 127.0, 0.02]])
    inputs = (torch.cat([latents, latents], 1)[None], torch.tensor(0.3), torch.randn(1, 1, TINY.context), told)
    for model, given, contenders in ((unet, inputs, UNET), (vae, latents, DECODE)):
        made = {}
        for name, setup in contenders.items():
            if "compiled" not in name:
                with setup(model, given) as call:
                    made[name] = call()
        assert len(made) > 1
        for result in made.values():
            torch.testing.assert_close(result.reshape(-1), made["diffusers"].reshape(-1), atol=1e-5, rtol=0)
    assert "forward" not in vars(unet)
    assert all(module._chunk_size is None for module in unet.modules() if hasattr(module, "_chunk_size"))


def test_the_command_writes_what_the_page_shows(tmp_path):
    path = tmp_path / "bench.json"
    asked = ["-o", str(path), "--size", "tiny", "--frames", "3", "--rounds", "1", "--device", "cpu"]
    done = CliRunner().invoke(bench, asked)
    assert done.exit_code == 0, done.output
    assert "unet    3 frames  longtake " in done.output
    results, about = read_results(path)
    assert about["dtype"] == "torch.float32"
    assert {result.what for result in results} == {"unet", "decode"}
    assert all(len(result.seconds) == len(result.ratios) == 1 for result in results)
    assert json.loads(path.read_text())["about"]["size"] == "tiny"
    assert "| longtake | " in table(results, "decode")
    assert table(results, "unet").count("\n") == len(UNET)  # two lines of head, and all but the compiled one
