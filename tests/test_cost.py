"""What a call costs: counted from the shape alone, as PyTorch counts the real thing."""

from __future__ import annotations

import pytest
import torch
from diffusers import UNetSpatioTemporalConditionModel
from hypothesis import given, settings
from hypothesis import strategies as st
from live import blended
from torch.utils.flop_counter import FlopCounterMode

from longtake import load_config, load_plugins
from longtake.core.budget.denoising import work_of
from longtake.core.budget.pace import step_seconds
from longtake.core.defaults import resolve
from longtake.core.engine.cost import BESIDE, Operations, Rate, count, measure_rate
from longtake.core.engine.memory import UnetShape, Work
from longtake.core.engine.reuse import Reuse
from longtake.core.engine.split import Split
from longtake.core.engine.times import TimeEmbedding
from longtake.core.engine.unet import Engine
from longtake.core.facts import read_facts
from longtake.core.plan import make_plan
from longtake.core.seams import Seams

CONVOLUTIONS = ("aten.convolution", "aten._convolution")


def counted(unet, frames: int, rows: int, columns: int, *, shallow: bool = False) -> Operations:
    """Return what PyTorch counts while the engine runs."""
    with torch.device("meta"):
        sample = torch.empty(frames, unet.config.in_channels, rows, columns)
        token, embedding = (
            torch.empty(1, unet.config.cross_attention_dim),
            torch.empty(1, 4 * unet.config.block_out_channels[0]),
        )
    engine = Engine(unet, Seams(14), Split())
    if shallow:
        engine.reuse = Reuse()
        engine.run(sample, token, TimeEmbedding(embedding))
    with FlopCounterMode(display=False) as counter:
        engine.run(sample, token, TimeEmbedding(embedding))
    found = {str(kind): operations for kind, operations in counter.get_flop_counts()["Global"].items()}
    convolutions = sum(operations for kind, operations in found.items() if kind in CONVOLUTIONS)
    return Operations(convolutions, counter.get_total_flops() - convolutions)


def unet_of(channels: tuple[int, ...], layers: int, attended: tuple[bool, ...]):
    kinds = {True: "CrossAttn", False: ""}
    with torch.device("meta"):
        unet = UNetSpatioTemporalConditionModel(
            block_out_channels=channels,
            layers_per_block=layers,
            down_block_types=tuple(f"{kinds[here]}DownBlockSpatioTemporal" for here in attended),
            up_block_types=tuple(f"{kinds[here]}UpBlockSpatioTemporal" for here in reversed(attended)),
            num_attention_heads=tuple(channel // 32 for channel in channels),
            cross_attention_dim=32,
            num_frames=14,
        )
    return blended(unet)


@given(
    attended=st.lists(st.booleans(), min_size=1, max_size=3),
    layers=st.integers(1, 2),
    frames=st.integers(1, 40),
    rows=st.integers(8, 20),
    columns=st.integers(8, 20),
    shallow=st.booleans(),
    data=st.data(),
)
@settings(max_examples=12, deadline=None)
def test_as_many_operations_are_counted_as_are_done(attended, layers, frames, rows, columns, shallow, data):
    channels = tuple(data.draw(st.sampled_from((32, 64, 96))) for _ in attended)
    unet = unet_of(channels, layers, tuple(attended))
    told = count(Work(UnetShape(channels, layers, 4, 0, tuple(attended)), frames, rows, columns, 4), shallow=shallow)
    done = counted(unet, frames, rows, columns, shallow=shallow)
    assert told.convolutions == pytest.approx(done.convolutions)
    # What is beside it works on one row for all frames, or on one for each.
    assert told.products <= done.products
    assert done.products - told.products <= 2 * 20 * max(channels) ** 2 * 12 * len(channels) * (layers + 1) * (
        1 + frames
    )


def test_a_rate_is_one_of_each_kind_of_work():
    rate = measure_rate(Work(UnetShape((32, 64), 1), 5, 12, 12, 4), torch.device("cpu"), torch.float32)
    assert 1e6 < rate.convolutions < 1e14
    assert 1e6 < rate.products < 1e14
    assert Rate(2.0, 4.0).seconds(Operations(6.0, 8.0)) == 5.0 * BESIDE


@pytest.mark.parametrize(
    ("asked", "calls"),
    [
        ({"guidance": {"name": "constant", "scale": 1}}, [1, 1, 1, 1, 1]),
        ({}, [2, 2, 2, 2, 2]),
        ({"guidance": {"name": "linear", "stop": 0.5}}, [2, 2, 1, 1, 1]),
        ({"reuse": 3, "guidance": {"name": "constant", "scale": 1}}, [1, None, None, 1, 1]),
        ({"reuse": 3}, [2, None, None, 2, 2]),
    ],
)
def test_a_step_takes_as_long_as_its_calls(asked, calls):
    plugins, facts = load_plugins(third_party=False), read_facts("embedded")
    config = resolve(
        load_config({"frames": 20, "steps": 5, "seed": 0} | asked, plugins.registry), facts, plugins.registry
    )
    rate = Rate(1e9, 1e9)
    work = work_of(config, facts)
    whole, shallow = rate.seconds(count(work)), rate.seconds(count(work, shallow=True))
    assert 0 < shallow < whole
    guided = 1 if 1 in calls else 2
    assert step_seconds(make_plan(config, facts), config, facts, rate) == pytest.approx(
        [guided * shallow if each is None else each * whole for each in calls]
    )
