"""How much the engine holds at a time: the full-size SVD-XT, traced on a device that has shapes but no numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from live import Flash, Live, blended

import longtake
from longtake.core.budget.devices import workspace_for
from longtake.core.engine.layout import channels_last
from longtake.core.engine.memory import (
    WAYS,
    MemoryPlan,
    UnetShape,
    Work,
    held_bytes,
    plan_memory,
    skip_bytes,
    workspaces,
)
from longtake.core.engine.resample import merged_numbers
from longtake.core.engine.resblock import resnet_bytes, spatial_resnet
from longtake.core.engine.skips import Skips
from longtake.core.engine.split import Source, Split
from longtake.core.engine.times import TimeEmbedding
from longtake.core.engine.transformer import Transformer, block_bytes, spatial_block, temporal_block
from longtake.core.engine.unet import Engine
from longtake.core.seams import Seams

REGISTRY = longtake.load_plugins(third_party=False).registry
MIB = 2**20
HOST = 2**50  # bytes of the host's memory
ROWS, COLUMNS = 72, 128  # latents of 576 x 1024 pixels


class Elsewhere(Skips):
    """Skips that take no memory of the device until they are read."""

    def store(self, states):
        def read(chunk, shape=states.shape, like=states.dtype):
            return torch.empty((chunk.stop - chunk.start, *shape[1:]), dtype=like, device="meta")

        return Source(states.shape, read)


@pytest.fixture(scope="module")
def unet():
    from diffusers import UNetSpatioTemporalConditionModel

    with torch.device("meta"):
        unet = UNetSpatioTemporalConditionModel(sample_size=96, num_frames=25, num_attention_heads=(5, 10, 20, 20))
    return blended(unet).half()


def most(unet, frames: int, split: Split, make_skips=Skips, seams=None, videos: int = 1) -> int:
    """Return the most bytes that one call holds beside the weights."""
    engine = Engine(unet, seams or Seams(25), split, make_skips)
    kernels = [level.upsampler.kernel_IOKK for level in engine._up if level.upsampler]
    assert sum(kernel.numel() for kernel in kernels) == merged_numbers(unet.config.block_out_channels)
    with torch.device("meta"):
        sample = torch.empty(frames * videos, 8, ROWS, COLUMNS, dtype=torch.float16)
        token, embedding = torch.empty(videos, 1024, dtype=torch.float16), torch.empty(1, 1280, dtype=torch.float16)
    with Flash(), Live([*unet.parameters(), *kernels, sample, token, embedding]) as live:
        output = engine.run(sample, token, TimeEmbedding(embedding))
    assert output.shape == (frames * videos, 4, ROWS, COLUMNS)
    return live.most


def test_storages_are_counted_while_they_live():
    with torch.device("meta"):
        known = torch.empty(100)
    with Live([known]) as live:
        first = torch.empty(10, device="meta")
        second = (first + known[:10]).view(2, 5)
        assert live.now == 80
        del first, second
        torch.empty(5, device="meta")
    assert (live.now, live.most) == (0, 80)


@pytest.mark.parametrize(
    ("split", "make_skips", "limit"),
    [
        (Split(64 * MIB), Skips, 60),
        (Split(64 * MIB, keep=False), Elsewhere, 14),
    ],
)
def test_memory_grows_by_so_much_with_each_frame_and_no_faster(unet, split, make_skips, limit):
    few, some, many = (most(unet, frames, split, make_skips) for frames in (3, 5, 7))
    assert (many - some) / 2 <= limit * MIB
    assert some - few <= limit * MIB * 2
    assert many <= limit * MIB * 7 + 2 * split.workspace


SVD_XT = UnetShape((320, 640, 1280, 1280), 2)


@pytest.mark.parametrize(("frames", "workspace"), [(3, 64 * MIB), (3, 200 * MIB), (12, 200 * MIB)])
@pytest.mark.parametrize(("keep", "host_skips"), WAYS)
def test_what_is_predicted_is_what_is_held(unet, frames, keep, host_skips, workspace):
    plan = MemoryPlan(Work(SVD_XT, frames, ROWS, COLUMNS, 2), 0, Split(workspace, keep), host_skips)
    held = most(unet, frames, plan.split, Elsewhere if host_skips else Skips)
    # Over by less than a chunk: what is held and the largest chunk need not meet, nor chunks fill their workspace.
    assert held <= plan.peak < held + max(workspace, workspaces(plan.work)[0])


@pytest.mark.parametrize(("videos", "workspace"), [(2, 64 * MIB), (3, 600 * MIB)])
def test_so_it_is_for_several_videos_at_once(unet, videos, workspace):
    plan = MemoryPlan(Work(SVD_XT, 3, ROWS, COLUMNS, 2), 0, Split(workspace, videos=videos), host_skips=False)
    held = most(unet, 3, plan.split, videos=videos)
    assert held <= plan.peak < held + max(workspace, videos * workspaces(plan.work)[0])


def test_both_branches_are_run_at_once_where_one_leaves_room_in_a_chunk():
    small = Work(SVD_XT, 14, 18, 32, 2, branches=2)
    plan = plan_memory(small, 8 * 1024 * MIB, 512 * MIB, HOST)
    assert plan is not None
    assert plan.split == Split(512 * MIB, videos=2)
    assert not plan.host_skips
    one = MemoryPlan(small, 0, Split(512 * MIB), host_skips=False)
    assert (plan.held, plan.chunk) == (2 * one.held, min(512 * MIB, 2 * one.chunk))
    others = {
        "not guided": (replace(small, branches=1), 8 * 1024 * MIB),
        "deep features are used again": (replace(small, reused=2), 8 * 1024 * MIB),
        "large": (replace(small, frames=100), 8 * 1024 * MIB),
        "no room": (small, plan.peak - 1),
    }
    for what, (work, budget) in others.items():
        other = plan_memory(work, budget, 512 * MIB, HOST)
        assert other is not None, what
        assert other.split.videos == 1, what


def test_what_is_held_for_each_frame_is_that_of_the_block_where_it_is_most():
    """By hand, as the room for a chunk would hide what few frames lack."""
    work = Work(SVD_XT, 40, ROWS, COLUMNS, 2)
    top, below = 320 * ROWS * COLUMNS, 640 * ROWS * COLUMNS // 4
    latents = 12 * ROWS * COLUMNS  # coming in, of the noise and of the image, and going out
    # The first block of the largest pictures on the way up: three skips wait, and it takes what comes from below, its
    # output, and as much between its convolutions.
    assert held_bytes(work, keep=True, host_skips=False) == 2 * (3 * top + below + 2 * top + latents)
    # Where skips wait elsewhere and nothing is kept: a transformer's states and tokens.
    assert held_bytes(work, keep=False, host_skips=True) == 2 * (2 * top + latents)


def test_the_temporal_part_stays_within_its_workspace_at_2000_frames(unet):
    module = next(module for module in unet.modules() if hasattr(module, "temporal_transformer_blocks"))
    transformer, frames = Transformer(module), 2000
    with torch.device("meta"):
        tokens = torch.empty(frames, ROWS * COLUMNS, module.inner_dim, dtype=torch.float16)
        token = torch.empty(1, 1024, dtype=torch.float16)
    with torch.no_grad(), Flash(), Live([*unet.parameters(), tokens, token]) as live:
        transformer._temporal(module.temporal_transformer_blocks[0], tokens, token, Seams(25), Split(256 * MIB))
    assert live.most < 256 * MIB


FACTORS = {"key_scale": 0.9, "query_scale": 1.1, "value_scale": 1.1, "temperature": [1, 2]}


def attention(name, **options):
    return REGISTRY.build("attention", {"name": name} | options)


@pytest.mark.parametrize("options", [{}, FACTORS], ids=["plain", "factors"])
@pytest.mark.parametrize("name", ["decay", "local-global", "spectral"])
def test_what_attention_writes_out_stays_within_its_workspace(unet, name, options):
    module = next(module for module in unet.modules() if hasattr(module, "temporal_transformer_blocks"))
    transformer, frames, rows, columns = Transformer(module), 300, 9, 16
    workspace = frames * block_bytes(module.inner_dim, 2) * (rows * columns if name == "spectral" else 12)
    with torch.device("meta"):
        tokens = torch.empty(frames, rows * columns, module.inner_dim, dtype=torch.float16)
        token = torch.empty(1, 1024, dtype=torch.float16)
    seams, block = Seams(25, None, attention(name, **options)), module.temporal_transformer_blocks[0]
    with torch.no_grad(), Flash(), Live([*unet.parameters(), tokens, token]) as live:
        transformer._temporal(block, tokens, token, seams, Split(workspace), (rows, columns))
    code = 3 * frames * module.inner_dim * 4  # of the frames, in float32, and what it goes through
    assert live.most < workspace + code


@pytest.mark.parametrize("factors", [{}, FACTORS | {"temperature": 1.1}], ids=["plain", "factors"])
@pytest.mark.parametrize("positions", ["global", "local"])
@pytest.mark.parametrize("name", ["freenoise", "looped"])
def test_float32_sums_of_windows_stay_within_the_workspace(unet, name, positions, factors):
    """Also for windows nearly as long as the video, which leave the sum the least room."""
    module = next(module for module in unet.modules() if hasattr(module, "temporal_transformer_blocks"))
    transformer, frames, pixels = Transformer(module), 300, 144
    strategy = attention(name, window=frames - 1, stride=frames - 1, positions=positions, **factors)
    workspace = frames * block_bytes(module.inner_dim, 2) * 12
    with torch.device("meta"):
        tokens = torch.empty(frames, pixels, module.inner_dim, dtype=torch.float16)
        token = torch.empty(1, 1024, dtype=torch.float16)
    seams, block = Seams(25, None, strategy), module.temporal_transformer_blocks[0]
    with torch.no_grad(), Flash(), Live([*unet.parameters(), tokens, token]) as live:
        transformer._temporal(block, tokens, token, seams, Split(workspace))
    code = 3 * frames * module.inner_dim * 4
    assert live.most < workspace + code


@pytest.mark.parametrize(("keep", "host_skips"), WAYS)
def test_what_is_predicted_for_whole_frames_is_what_is_held(unet, keep, host_skips):
    plan = MemoryPlan(Work(SVD_XT, 8, ROWS, COLUMNS, 2, whole=True), 0, Split(64 * MIB, keep), host_skips)
    seams = Seams(4, None, attention("spectral"))
    held = most(unet, 8, plan.split, Elsewhere if host_skips else Skips, seams)
    assert held <= plan.peak < held + workspaces(plan.work)[0]


@given(
    frames=st.integers(1, 3000),
    rows=st.integers(8, 96),
    columns=st.integers(8, 160),
    budget=st.floats(0.5, 200).map(lambda gib: int(gib * 1024 * MIB)),
    branches=st.integers(1, 2),
)
def test_a_plan_fits_its_budget_and_more_room_never_plans_worse(frames, rows, columns, budget, branches):
    work = Work(SVD_XT, frames, rows, columns, 2, branches=branches)
    plan, roomier = (plan_memory(work, each, 512 * MIB, HOST) for each in (budget, 2 * budget))
    if plan is None:
        smaller = plan_memory(Work(SVD_XT, 1, 8, 8, 2), budget, 512 * MIB, HOST)
        assert smaller is not None
        return
    assert plan.peak <= budget
    assert roomier is not None
    assert WAYS.index((roomier.split.keep, roomier.host_skips)) <= WAYS.index((plan.split.keep, plan.host_skips))
    assert roomier.split.videos >= plan.split.videos
    shorter = plan_memory(replace(work, frames=max(1, frames // 2)), budget, 512 * MIB, HOST)
    assert shorter is not None
    assert shorter.peak <= budget


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_block_takes_no_more_than_is_planned_for_it(unet, monkeypatch, wrapped):
    """Also where layers are called, as something is wrapped around them."""
    module = next(module for module in unet.modules() if hasattr(module, "temporal_transformer_blocks"))
    resnet = unet.up_blocks[-1].resnets[0].spatial_res_block
    for layer in [layer for part in (module, resnet) for layer in part.modules()] if wrapped else ():
        if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d):
            monkeypatch.setattr(layer, "forward", layer.forward)
    (channels, inputs), pixels = (module.inner_dim, resnet.in_channels), ROWS * COLUMNS
    with torch.device("meta"):
        tokens, code = (torch.empty(2, each, channels, dtype=torch.float16) for each in (pixels, 1))
        bias, row = (torch.empty(1, channels, dtype=torch.float16) for _ in range(2))
        states = channels_last(torch.empty(2, inputs, ROWS, COLUMNS, dtype=torch.float16))
    ways = {
        block_bytes(channels, 2): [
            lambda: spatial_block(module.transformer_blocks[0], tokens, bias),
            lambda: temporal_block(module.temporal_transformer_blocks[0], tokens, code[:, 0], bias, Seams(25).attend),
        ],
        resnet_bytes(inputs, channels, 2) - 2 * inputs: [lambda: spatial_resnet(resnet, states, row)],
    }
    for planned, calls in ways.items():
        for call in calls:
            with torch.no_grad(), Flash(), Live([*unet.parameters(), tokens, code, bias, row, states]) as live:
                call()
            assert 0.5 * planned < live.most / (2 * pixels) < 1.01 * planned


def test_a_thousand_frames_of_full_size_fit_24_gib_with_the_weights():
    work = Work(replace(SVD_XT, parameters=1_524_623_082), 1000, ROWS, COLUMNS, 2)
    workspace = workspace_for(torch.device("cuda"))
    plan = plan_memory(work, 24 * 1024 * MIB, workspace, HOST)
    assert plan is not None
    assert plan.host_skips
    # Beside chunks of one GiB it has always been less than 16.
    assert plan.peak - 1.1 * (workspace - 1024 * MIB) < 16 * 1024 * MIB
    smaller = plan_memory(work, 24 * 1024 * MIB, 1024 * MIB, HOST)
    assert smaller is not None
    assert smaller.peak < 16 * 1024 * MIB


@pytest.mark.parametrize(("rows", "columns"), [(72, 128), (9, 13)])
def test_what_waits_on_the_host_is_counted(unet, rows, columns):
    """Of a call, what is handed from the way down to the way up."""
    waiting = []

    class Counted(Elsewhere):
        def store(self, states):
            waiting.append(states.numel() * 2)
            return super().store(states)

    engine = Engine(unet, Seams(25), Split(64 * MIB, keep=False), Counted)
    with torch.device("meta"):
        sample = torch.empty(3, 8, rows, columns, dtype=torch.float16)
        token, embedding = torch.empty(1, 1024, dtype=torch.float16), torch.empty(1, 1280, dtype=torch.float16)
    with Flash():
        engine.run(sample, token, TimeEmbedding(embedding))
    assert 3 * skip_bytes(Work(SVD_XT, 3, rows, columns, 2)) == sum(waiting)
