"""Several threads and one model: each gets what it would have got alone. The threads are made to meet, not left to."""

from __future__ import annotations

import copy
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from unet_calls import call, everything_of, inputs

from longtake import Model, apply, decode, generate, installed, remove
from longtake.core import holding
from longtake.core.errors import LongtakeError
from longtake.positional.linear import Linear
from longtake.positional.yarn import Yarn

SMALL = {"frames": 6, "steps": 2, "seed": 1, "height": 24, "width": 32}
LONG = 30  # seconds after which something has gone wrong


def wait_for(condition):
    """Wait until something is so; that it never is fails the test."""
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end, "it never came about"
        time.sleep(0.001)


def met(first, second):
    """Return the futures of two functions in threads: the second begins while the first is in the middle of its work.

    Each calls what it is given in its middle. There the first goes on when the second waits for a model, as it should,
    or is in the middle of its own work.
    """
    inside, came_in = threading.Event(), threading.Event()

    def in_the_middle():
        inside.set()
        wait_for(lambda: holding._waiting or came_in.is_set())

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(first, in_the_middle)
        wait_for(lambda: inside.is_set() or one.done())
        other = pool.submit(second, came_in.set)
    return one, other


def asked(middle, strategy):
    """Return a strategy that calls ``middle`` in the second step."""

    class Telling(strategy):
        name = "telling"

        def positions(self, frames_F, span):
            if span.step == 1:  # not while it is planned
                middle()
            return super().positions(frames_F, span)

    return Telling()


@pytest.fixture
def unet(pipe):
    return pipe.unet


def test_generations_with_one_model_wait_for_each_other(pipe, image):
    model, same = Model.of(pipe), Model.of(pipe)
    alone = [generate(image, model=model, positional=each, **SMALL).latents for each in (Linear(), Yarn())]
    before = everything_of(pipe.unet)
    results = met(
        lambda middle: generate(image, model=model, positional=asked(middle, Linear), **SMALL),
        lambda middle: generate(image, model=same, positional=asked(middle, Yarn), **SMALL),
    )
    assert not torch.equal(*alone)
    for result, expected in zip(results, alone, strict=True):
        assert torch.equal(result.result().latents, expected)
    assert everything_of(pipe.unet) == before


def test_an_exception_in_one_generation_lets_the_other_go_on(pipe, image):
    model = Model.of(pipe)
    expected = generate(image, model=model, positional=Yarn(), **SMALL).latents
    before = everything_of(pipe.unet)

    def fails(middle):
        def fail():
            middle()
            raise RuntimeError("enough")

        generate(image, model=model, positional=asked(fail, Linear), **SMALL)

    first, second = met(fails, lambda middle: generate(image, model=model, positional=asked(middle, Yarn), **SMALL))
    with pytest.raises(RuntimeError, match="enough"):
        first.result()
    assert torch.equal(second.result().latents, expected)
    assert everything_of(pipe.unet) == before


def test_what_is_installed_is_installed_for_one_thread_at_a_time(unet):
    given, before = inputs(1, 6), everything_of(unet)
    alone = []
    for strategy in (Linear(), Yarn()):
        with installed(unet, strategy):
            alone.append(call(unet, given))

    def run(strategy):
        def within(middle):
            with installed(unet, strategy), installed(unet):  # nested, as always
                middle()
                return call(unet, given)

        return within

    results = met(run(Linear()), run(Yarn()))
    assert not torch.equal(*alone)
    assert all(torch.equal(result.result(), expected) for result, expected in zip(results, alone, strict=True))
    assert everything_of(unet) == before


def calls(pipe, call_pipe, image, seed):
    def run(middle):
        def tell(pipe, step, timestep, tensors):
            if step == 0:
                middle()
            return {}

        return call_pipe(pipe, image, seed=seed, num_inference_steps=seed + 1, callback_on_step_end=tell)

    return run


def test_calls_of_a_pipeline_wait_for_each_other(pipe, call_pipe, image):
    """Other numbers of steps, so that a call that came in would change the scheduler under the first one's feet."""
    stock = type(pipe)
    with apply(pipe, positional="linear", noise="freenoise"):
        alone = [call_pipe(pipe, image, seed=seed, num_inference_steps=seed + 1) for seed in (1, 2)]
        results = met(*(calls(pipe, call_pipe, image, seed) for seed in (1, 2)))
        for result, expected in zip(results, alone, strict=True):
            assert torch.equal(result.result(), expected)
        assert type(pipe).__name__ == stock.__name__
        assert isinstance(pipe, stock)
    assert type(pipe) is stock


def test_pipelines_of_one_unet_and_generations_wait_for_each_other_too(pipe, call_pipe, image):
    sharing = type(pipe)(**pipe.components)
    alone = generate(image, model=Model.of(pipe), positional=Yarn(), **SMALL).latents
    with apply(pipe, positional="linear"), apply(sharing, positional="yarn"):
        expected = [call_pipe(pipe, image, seed=1), call_pipe(sharing, image, seed=2, num_inference_steps=3)]
        results = met(calls(pipe, call_pipe, image, 1), calls(sharing, call_pipe, image, 2))
        assert all(torch.equal(result.result(), each) for result, each in zip(results, expected, strict=True))
        long, other = met(
            calls(pipe, call_pipe, image, 1),
            lambda middle: generate(image, model=Model.of(sharing), positional=asked(middle, Yarn), **SMALL),
        )
    assert torch.equal(long.result(), expected[0])
    assert torch.equal(other.result().latents, alone)


def test_what_is_removed_or_applied_during_a_call_counts_from_the_next_one(pipe, call_pipe, image):
    stock = call_pipe(pipe, image, seed=1)
    apply(pipe, positional="linear")
    long = call_pipe(pipe, image, seed=1)
    first, second = met(calls(pipe, call_pipe, image, 1), lambda _: (remove(pipe), call_pipe(pipe, image, seed=1)))
    assert torch.equal(first.result(), long)
    assert torch.equal(second.result()[1], stock)
    with apply(pipe):
        first, second = met(calls(pipe, call_pipe, image, 1), lambda middle: (middle(), apply(pipe, positional="yarn")))
        first.result()
        with pytest.raises(
            LongtakeError, match=r"applied to this pipeline already; .* type\(pipe\)\(\*\*pipe.components\)"
        ):
            second.result()


def test_threads_that_would_wait_for_each_other_are_told(unet):
    other = copy.deepcopy(unet)
    both = threading.Barrier(2)

    def run(first, second):
        with installed(first):
            both.wait(LONG)
            with installed(second):
                return "done"

    with ThreadPoolExecutor(2) as pool:
        done = [pool.submit(run, *each) for each in ((unet, other), (other, unet))]
    said = [str(each.exception() or each.result()) for each in done]
    assert sorted(each[:20] for each in said) == ["done", "this thread and anot"]
    assert "forward" not in vars(unet)
    with installed(other), installed(unet):
        pass


def test_a_video_that_is_decoded_bit_by_bit_holds_the_model_until_it_is_done(pipe, image):
    """A server may ask for each chunk in another thread."""
    model, latents = Model.of(pipe), torch.randn(6, 4, 3, 4)
    expected = np.concatenate(list(decode(model, latents, chunk=2)))
    chunks = decode(model, latents, chunk=2)
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as another, ThreadPoolExecutor(1) as user:
        made = [one.submit(next, chunks).result()]
        generated = user.submit(generate, image, model=model, **SMALL)
        wait_for(lambda: holding._waiting)
        made += another.submit(list, chunks).result()
        assert len(generated.result().latents) == 6
    assert np.array_equal(np.concatenate(made), expected)


def test_copies_and_pickles_of_what_is_held_are_free(pipe):
    with Model.of(pipe).held():
        copied, pickled = copy.deepcopy(pipe), pickle.loads(pickle.dumps(pipe.unet))
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(lambda: (Model.of(copied).held().__enter__(), installed(pickled).__enter__())).result()
