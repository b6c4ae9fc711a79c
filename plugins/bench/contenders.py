"""Who is compared: each is a way to make the same call, set up for the time of a ``with`` block."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...core.budget.devices import free_memory, host_room, workspace_for
from ...core.defaults import GUIDED_AT_FIRST
from ...core.engine.decode_memory import DecodeWork, plan_decoding
from ...core.engine.decoder import DecoderEngine
from ...core.engine.memory import UnetShape, Work, plan_memory, workspaces
from ...core.engine.reuse import Reuse
from ...core.engine.skips import HostSkips
from ...core.engine.split import Split
from ...core.generate import generate
from ...core.manager import load_plugins
from ...core.model import Model
from ...core.seams import installed

Call = Callable[[], Tensor]
BASE = "diffusers"
DECODED_AT_A_TIME = 8  # frames


@contextmanager
def _stock(unet: Any, inputs: tuple[Tensor, ...]) -> Iterator[Call]:
    yield lambda: unet(*inputs, return_dict=False)[0]


@contextmanager
def _forward_chunking(unet: Any, inputs: tuple[Tensor, ...]) -> Iterator[Call]:
    unet.enable_forward_chunking()
    try:
        yield lambda: unet(*inputs, return_dict=False)[0]
    finally:
        for module in unet.modules():
            if hasattr(module, "set_chunk_feed_forward"):
                module.set_chunk_feed_forward(chunk_size=None, dim=0)


@contextmanager
def _compiled(unet: Any, inputs: tuple[Tensor, ...]) -> Iterator[Call]:
    compiled: Any = torch.compile(unet, dynamic=False)  # for each length anew: the fastest
    yield lambda: compiled(*inputs, return_dict=False)[0]


@contextmanager
def _engine(
    unet: Any,
    inputs: tuple[Tensor, ...],
    smallest: bool = False,
    on_host: bool = False,
    compiled: bool = False,
    at_once: int = 1,
) -> Iterator[Call]:
    device = inputs[0].device
    workspace = workspaces(_work_of(unet, inputs))[0] if smallest else workspace_for(device)
    split = Split(workspace, keep=not on_host, compiled=compiled, videos=at_once)
    ways: dict[str, Any] = {"make_skips": lambda: HostSkips(device)} if on_host else {}
    with installed(unet, split=split, **ways):
        yield lambda: unet(*inputs, return_dict=False)[0]


def _work_of(unet: Any, inputs: tuple[Tensor, ...]) -> Work:
    """Return what the planner would be told."""
    _, frames, _, rows, columns = inputs[0].shape
    parameters = sum(weight.numel() for weight in unet.parameters())
    shape = UnetShape(tuple(unet.config.block_out_channels), unet.config.layers_per_block, parameters=parameters)
    return Work(shape, frames, rows, columns, inputs[0].element_size())


@contextmanager
def _planned(unet: Any, inputs: tuple[Tensor, ...]) -> Iterator[Call]:
    """Split the work as a generation would, from the memory that is free."""
    work, device = _work_of(unet, inputs), inputs[0].device
    plan = plan_memory(work, free_memory(device) + work.loaded, workspace_for(device), host_room(device))
    if plan is None:
        raise torch.OutOfMemoryError(f"{work.frames} frames have no plan that fits")
    with installed(unet, split=plan.split, make_skips=partial(HostSkips, device) if plan.host_skips else None):
        yield lambda: unet(*inputs, return_dict=False)[0]


@contextmanager
def _reused(unet: Any, inputs: tuple[Tensor, ...]) -> Iterator[Call]:
    """Give the calls between two that work everything out: deep features are there already."""
    with installed(unet, split=Split(workspace_for(inputs[0].device))) as seams:
        seams.engine.reuse = Reuse()
        unet(*inputs, return_dict=False)
        yield lambda: unet(*inputs, return_dict=False)[0]


@contextmanager
def _one_by_one(unet: Any, inputs: tuple[Tensor, ...]) -> Iterator[Call]:
    sample_BFCYX, timestep, token_B1K, told_B3 = inputs
    branches = list(zip(sample_BFCYX.split(1), token_B1K.split(1), told_B3.split(1), strict=True))

    def call() -> Tensor:
        return torch.cat(
            [unet(sample, timestep, token, told, return_dict=False)[0] for sample, token, told in branches]
        )

    yield call


UNET: dict[str, Any] = {
    BASE: _stock,
    "diffusers, chunked feed-forward": _forward_chunking,
    "diffusers, compiled": _compiled,
    "longtake": _engine,
    "longtake, smallest chunks": partial(_engine, smallest=True),
    "longtake, skips in the host's memory": partial(_engine, on_host=True),
    "longtake, deep features reused": _reused,
    "longtake, compiled": partial(_engine, compiled=True),
}


# As each is used where memory is short.
UNET_LIMIT: dict[str, Any] = {
    BASE: _stock,
    "diffusers, chunked feed-forward": _forward_chunking,
    "longtake": _planned,
}

# Both branches of a guided step, with and without the image.
GUIDED: dict[str, Any] = {
    BASE: _stock,
    "diffusers, one branch after the other": _one_by_one,
    "longtake, one branch after the other": _engine,
    "longtake, both at once": partial(_engine, at_once=2),
}


@contextmanager
def _stock_decoder(vae: Any, latents_FCYX: Tensor) -> Iterator[Call]:
    yield lambda: vae.decode(latents_FCYX, num_frames=len(latents_FCYX), return_dict=False)[0]


@contextmanager
def _stock_decoder_chunked(vae: Any, latents_FCYX: Tensor) -> Iterator[Call]:
    """Decode some frames at a time as diffusers' pipeline does when it is told to, which is not exact."""

    def call() -> Tensor:
        chunks = latents_FCYX.split(DECODED_AT_A_TIME)
        return torch.cat([vae.decode(chunk, num_frames=len(chunk), return_dict=False)[0] for chunk in chunks])

    yield call


@contextmanager
def _engine_decoder(vae: Any, latents_FCYX: Tensor) -> Iterator[Call]:
    engine, device, (frames, _, rows, columns) = DecoderEngine(vae), latents_FCYX.device, latents_FCYX.shape
    work = DecodeWork(
        tuple(vae.config.block_out_channels), frames, rows, columns, latents_FCYX.element_size(), asked=frames
    )
    plan = plan_decoding(work, free_memory(device), host_room(device), workspace_for(device))
    if plan is None:
        raise torch.OutOfMemoryError(f"{frames} frames at once have no plan that fits")
    split = plan.split(device)
    yield lambda: engine.run(latents_FCYX, split)


DECODE: dict[str, Any] = {
    BASE: _stock_decoder,
    "diffusers, 8 frames at a time": _stock_decoder_chunked,
    "longtake": _engine_decoder,
}


@contextmanager
def _stock_pipeline(pipeline: Any, asked: dict[str, Any], decoded: int | None = None) -> Iterator[Call]:
    def call() -> Tensor:
        made = pipeline(
            asked["image"],
            height=asked["image"].height,
            width=asked["image"].width,
            num_frames=asked["frames"],
            num_inference_steps=asked["steps"],
            decode_chunk_size=decoded,
            generator=torch.Generator().manual_seed(0),
            output_type="np",
        )
        return torch.from_numpy(made.frames[0])

    yield call


@contextmanager
def _stock_pipeline_chunked(pipeline: Any, asked: dict[str, Any]) -> Iterator[Call]:
    with _forward_chunking(pipeline.unet, ()), _stock_pipeline(pipeline, asked, DECODED_AT_A_TIME) as call:
        yield call


@contextmanager
def _generate(pipeline: Any, asked: dict[str, Any], **more: Any) -> Iterator[Call]:
    model, plugins, image = Model.of(pipeline), load_plugins(third_party=False), asked["image"]
    options = {"width": image.width, "height": image.height, "frames": asked["frames"], "seed": 0}
    options |= {"positional": "none", "motion": "constant"} | more

    def call() -> Tensor:
        made = generate(image, model=model, plugins=plugins, **options)
        assert made.frames is not None
        return torch.from_numpy(made.frames) / 255.0

    yield call


@contextmanager
def _as_many_steps(pipeline: Any, asked: dict[str, Any]) -> Iterator[Call]:
    with _generate(pipeline, asked, steps=asked["steps"]) as call:
        yield call


@contextmanager
def _in_8_bits(pipeline: Any, asked: dict[str, Any]) -> Iterator[Call]:
    """Hold the UNet's weights in float8, as ``--weights float8`` does, and put back those that it had."""
    unet = pipeline.unet
    pipeline.unet = copy.deepcopy(unet)
    pipeline.unet.enable_layerwise_casting(torch.float8_e4m3fn, unet.dtype)
    try:
        with _generate(pipeline, asked) as call:
            yield call
    finally:
        pipeline.unet = unet


PIPELINE: dict[str, Any] = {
    BASE: _stock_pipeline,
    "diffusers, feed-forward and decoding in chunks": _stock_pipeline_chunked,
    "longtake": _as_many_steps,
}
SPEED: dict[str, Any] = {
    "exact": _generate,
    "ays sigmas": partial(_generate, sigmas="ays"),
    "guided in the first half": partial(_generate, guidance=GUIDED_AT_FIRST),
    "deep features every 3 steps": partial(_generate, reuse=3),
    "weights in 8 bits": _in_8_bits,
    "fast": partial(_generate, speed="fast"),
    "draft": partial(_generate, speed="draft"),
}
LENGTH = {
    name: UNET[name] for name in (BASE, "diffusers, chunked feed-forward", "longtake", "longtake, smallest chunks")
}
