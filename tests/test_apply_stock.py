"""Where longtake.apply leaves something to the pipeline it is the pipeline's to the last bit: noise, and each video."""

from __future__ import annotations

import pytest
import torch

from longtake import apply

SIZES = {"batch_size": 2, "num_frames": 6, "num_channels_latents": 8, "height": 24, "width": 32}


def generators(many: bool):
    return [torch.Generator().manual_seed(seed) for seed in (1, 2)] if many else torch.Generator().manual_seed(1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("schedule", ["independent", {"name": "freenoise", "window": 6}])
def test_independent_noise_is_the_pipelines_own(pipe, dtype, many, schedule):
    """Also that of a schedule that has nothing to share out at this length."""
    pipe.to(dtype)
    pipe.scheduler.set_timesteps(2)
    asked = {**SIZES, "dtype": dtype, "device": torch.device("cpu")}
    stock = pipe.prepare_latents(**asked, generator=generators(many))
    with apply(pipe, noise=schedule):
        mine = pipe.prepare_latents(**asked, generator=generators(many))
    assert mine.dtype == dtype
    assert torch.equal(mine, stock)


def test_noise_that_is_shared_out_is_not(pipe):
    pipe.scheduler.set_timesteps(2)
    asked = {**SIZES, "dtype": torch.float32, "device": torch.device("cpu")}
    stock = pipe.prepare_latents(**asked, generator=generators(False))
    with apply(pipe, noise="freenoise"):
        assert not torch.equal(pipe.prepare_latents(**asked, generator=generators(False)), stock)


@pytest.mark.parametrize("chunk", [2, 3, 4, 7, 14])
def test_each_video_of_a_call_is_decoded_as_if_it_were_alone(pipe, chunk):
    latents = torch.randn(3, 6, 4, 3, 4, generator=torch.Generator().manual_seed(0))
    stock = [pipe.decode_latents(each, 6, chunk) for each in latents.split(1)]
    with apply(pipe):
        assert torch.equal(pipe.decode_latents(latents, 6, decode_chunk_size=chunk), torch.cat(stock))
        assert torch.equal(pipe.decode_latents(latents[:1], 6, chunk), stock[0])
    mixed = not torch.equal(pipe.decode_latents(latents, 6, chunk), torch.cat(stock))
    assert mixed == (chunk not in (2, 3)), "diffusers mixes videos wherever chunks do not divide them"


def test_a_way_to_decode_that_is_put_in_later_is_used_and_left(pipe, call_pipe, image):
    seen = []

    def own(latents, num_frames, decode_chunk_size=14):
        seen.append(num_frames)
        return torch.zeros(1, 3, num_frames, 24, 32)

    with apply(pipe):
        pipe.decode_latents = own
        call_pipe(pipe, image, output_type="np")
    assert seen == [6]
    assert pipe.decode_latents is own
