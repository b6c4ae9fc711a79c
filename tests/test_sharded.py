"""Frames on several devices: the same blocks and strategies, with a split that exchanges frames for pixels.

The devices are threads, and the exchange a list that they share; what a process group would do goes the same way.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
import torch

from longtake.core.engine.decoder import DecoderEngine
from longtake.core.engine.moments import merge_moments
from longtake.core.engine.split import Split
from longtake.core.engine.times import TimeEmbedding
from longtake.core.engine.unet import Engine
from longtake.core.seams import Seams
from longtake.plugins.attention.freenoise import FreeNoiseWindows
from longtake.plugins.attention.spectral import Spectral
from longtake.positional.linear import Linear

COUNTS = (3, 1, 4)  # frames on each device
FRAMES = sum(COUNTS)


class Exchange:
    """Gives each device what all of them have put in."""

    def __init__(self, devices: int) -> None:
        self._barrier = threading.Barrier(devices, timeout=60)
        self._given: list[object] = [None] * devices

    def all(self, rank: int, mine):
        self._given[rank] = mine
        self._barrier.wait()
        everything = list(self._given)
        self._barrier.wait()  # nobody puts the next thing in before all have taken this
        return everything


@dataclass(frozen=True, slots=True)
class Sharded(Split):
    """Some of the frames on each device, or some of the pixels of all frames."""

    rank: int = 0
    exchange: Exchange | None = None

    @property
    def first(self) -> int:
        return sum(COUNTS[: self.rank])

    def frames_of(self, states):
        return FRAMES

    def place_of(self, chunk):
        first = self.first * self.videos
        return slice(first + chunk.start, first + chunk.stop)

    def over_pixels(self, run, states, each, *, whole=False, writes=True):
        video = torch.cat(self.exchange.all(self.rank, states))
        shares = [torch.arange(video.shape[1])] * len(COUNTS) if whole else torch.arange(video.shape[1]).chunk(3)
        mine = shares[self.rank] if self.rank < len(shares) else torch.arange(0)
        if not len(mine):  # fewer pixels than devices
            made, part = [], video[:, :0]
        else:
            part = video[:, mine]
            made = Split.over_pixels(self, run, part, each, whole=whole, writes=writes)
        if writes:
            for share, done in zip(shares, self.exchange.all(self.rank, part), strict=False):
                first = self.first * self.videos
                states[:, share] = done[first : first + len(states)]
        return made


def on_devices(run):
    """Return what all devices make together, frames first."""
    exchange = Exchange(len(COUNTS))

    def of(rank: int) -> torch.Tensor:
        def merge(parts):
            return merge_moments([part for each in exchange.all(rank, parts) for part in each])

        split = Sharded(40_000, merge=merge, rank=rank, exchange=exchange)
        return run(split, slice(split.first, split.first + COUNTS[rank]))

    with ThreadPoolExecutor(len(COUNTS)) as devices:
        return torch.cat(list(devices.map(of, range(len(COUNTS)))))


@pytest.fixture(scope="module")
def pipeline(make_pipeline):
    pipeline = make_pipeline()
    pipeline.unet.double(), pipeline.vae.double()
    return pipeline


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("videos", [1, 2])
@pytest.mark.parametrize("told_each", [False, True])
@pytest.mark.parametrize(
    "attention", [None, FreeNoiseWindows(positions="local"), FreeNoiseWindows(positions="global"), Spectral()]
)
def test_frames_on_several_devices_give_what_one_device_gives(pipeline, attention, told_each, videos):
    sample, token = random(videos * FRAMES, 8, 5, 6), random(videos, 16, seed=1)
    embedding = random(videos * FRAMES if told_each else 1, 128, seed=2)

    def run(split: Split, here: slice) -> torch.Tensor:
        engine = Engine(pipeline.unet, Seams(4, Linear(), attention), split)
        return engine.run(sample[videos * here.start : videos * here.stop], token, TimeEmbedding(embedding))

    whole = run(Split(), slice(0, FRAMES))
    torch.testing.assert_close(on_devices(run), whole, atol=1e-12, rtol=0)


def test_decoding_on_several_devices_gives_what_one_device_gives(pipeline):
    latents = random(FRAMES, 4, 3, 4)

    def run(split: Split, here: slice) -> torch.Tensor:
        return DecoderEngine(pipeline.vae).run(latents[here], split)

    torch.testing.assert_close(on_devices(run), run(Split(), slice(FRAMES)), atol=1e-11, rtol=0)
