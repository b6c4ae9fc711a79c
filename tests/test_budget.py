"""Memory: what fits is planned, what does not is said with what would, and running out of it loses nothing."""

from __future__ import annotations

import copy
import json
import logging
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

import longtake
from longtake import generate, load_config, read_facts, resolve
from longtake.core.budget.decoding import decode_work
from longtake.core.budget.denoising import Frugal, FrugalDenoiser, describe, fit_memory, least_budget, work_of
from longtake.core.budget.devices import GIB, WORKSPACE, amount, free_memory, host_room, is_here
from longtake.core.engine.decode_memory import least_decoding
from longtake.core.engine.memory import plan_memory, workspaces
from longtake.core.engine.skips import HostSkips, Skips
from longtake.core.engine.split import Split
from longtake.core.engine.transformer import block_bytes
from longtake.core.errors import ConfigError
from longtake.core.model import Model

REGISTRY = longtake.load_plugins(third_party=False).registry
SVD_XT = read_facts("stabilityai/stable-video-diffusion-img2vid-xt")
SMALL = {"width": 32, "height": 24, "steps": 3, "seed": 3}


def config(**asked):
    asked = {"frames": 100, "dtype": "float16", "device": "cpu", "model": SVD_XT.name} | asked
    return resolve(load_config(asked, REGISTRY), SVD_XT, REGISTRY)


@pytest.fixture
def roomy(monkeypatch):
    """Let the host have memory of its own beside the device's, as that of a GPU has."""
    monkeypatch.setattr("longtake.core.budget.denoising.host_room", lambda _: 100 * GIB)


@pytest.mark.parametrize("text", ["8GiB", "8gib", str(8 * GIB)])
def test_memory_is_said_as_people_say_it(text):
    asked = load_config({"memory": text}, REGISTRY)
    assert asked.memory == 8 * GIB
    assert load_config(asked.dump(), REGISTRY) == asked


@pytest.mark.parametrize(
    "text", ["0", "-1GiB", "much", "8,5GiB", "8 GiB or so", "8QiB", True, 1.5, float("inf"), float("nan")]
)
def test_what_is_no_memory_is_refused(text):
    with pytest.raises(ConfigError, match="memory"):
        load_config({"memory": text}, REGISTRY)


def test_less_memory_takes_more_frugal_ways(roomy):
    ways = [fit_memory(config(memory=memory), SVD_XT) for memory in ("16GiB", "6.5GiB", "4.6GiB")]
    assert [(way.host_skips, way.peak <= way.budget) for way in ways] == [(False, True), (False, True), (True, True)]
    assert ways[0].peak > ways[1].peak > ways[2].peak or ways[0].peak == ways[1].peak


def test_weights_in_8_bits_take_a_byte_each():
    whole, half = (fit_memory(config(weights=weights), SVD_XT) for weights in (None, "float8"))
    assert half.work.weights == SVD_XT.unet.parameters
    merged = 16 * (1280**2 + 1280**2 + 640**2)  # numbers of the kernels that double a picture, of three levels
    assert whole.work.weights == 2 * (SVD_XT.unet.parameters + merged)
    assert whole.peak - half.peak == whole.work.weights - half.work.weights > 0


def test_features_that_are_kept_take_memory_too():
    kept = fit_memory(config(reuse=3), SVD_XT).held - fit_memory(config(), SVD_XT).held
    assert kept == 2 * 100 * 320 * 72 * 128 * 2


def test_what_cannot_fit_is_refused_with_what_would(roomy, monkeypatch):
    with pytest.raises(ConfigError) as caught:
        fit_memory(config(frames=1000, memory="8GiB"), SVD_XT)
    message = str(caught.value)
    least = least_budget(work_of(config(frames=1000), SVD_XT), 100 * GIB)
    assert message.startswith(f"1000 frames of 1024x576 take at least {amount(least)}, but --memory allows 8.0 GiB; ")
    frames = int(re.search(r"(\d+) frames of that size", message)[1])
    width, height = map(int, re.findall(r"1000 frames of (\d+)x(\d+)", message)[1])
    for smaller in ({"frames": frames}, {"width": width, "height": height}):
        fit_memory(config(**{"frames": 1000, "memory": "8GiB"} | smaller), SVD_XT)
    with pytest.raises(ConfigError):
        fit_memory(config(frames=frames + 1, memory="8GiB"), SVD_XT)
    assert fit_memory(config(frames=1000, memory=least), SVD_XT).peak <= least
    monkeypatch.setattr("longtake.core.budget.denoising.free_memory", lambda _: GIB)
    with pytest.raises(
        ConfigError, match="but --memory allows 100 bytes; what fits: nothing; free memory, or use anoth"
    ):
        fit_memory(config(memory="100"), SVD_XT)


def test_what_is_refused_says_which_memory_precision_and_windows_would_do(roomy, monkeypatch):
    def refused(**asked):
        with pytest.raises(ConfigError) as caught:
            fit_memory(config(memory="5GiB", **asked), SVD_XT)
        return str(caught.value)

    free = []
    monkeypatch.setattr("longtake.core.budget.denoising.free_memory", lambda _: free[-1])
    free.append(3 * GIB)
    message = refused(frames=300)
    assert "which is free" not in message
    assert "; all of it with --weights float8" in message
    assert message.endswith("; all of it in windows of 25 frames, with --context uniform")
    fit_memory(config(memory="5GiB", frames=300, weights="float8"), SVD_XT)
    fit_memory(config(memory="5GiB", frames=300, context="uniform"), SVD_XT)
    free.append(100 * GIB)
    enough = re.search(r"what fits: --memory (\d+MiB), which is free; ", refused(frames=300))[1]
    fit_memory(config(memory=enough, frames=300), SVD_XT)


def test_whole_frames_take_the_temporal_block_of_all_pixels():
    work = work_of(config(attention="spectral"), SVD_XT)
    assert work.whole
    assert not work_of(config(), SVD_XT).whole
    assert not work_of(config(attention="spectral", frames=25), SVD_XT).whole  # nothing to stretch
    assert workspaces(work)[0] == 100 * 72 * 128 * block_bytes(320, 2)
    plan = fit_memory(config(attention="spectral", memory="40GiB"), SVD_XT)
    assert plan.peak >= plan.work.weights + plan.held + workspaces(work)[0]
    assert plan.peak > fit_memory(config(memory="40GiB"), SVD_XT).peak


def test_what_is_refused_for_whole_frames_says_what_fits(roomy):
    least = least_budget(work_of(config(attention="spectral"), SVD_XT), 100 * GIB)
    assert fit_memory(config(attention="spectral", memory=least), SVD_XT).peak <= least
    assert fit_memory(config(memory=least - 1), SVD_XT).peak < least  # without whole frames it is plenty
    with pytest.raises(ConfigError, match=r"100 frames of 1024x576 take .* which is free; 99 frames of that size"):
        fit_memory(config(attention="spectral", memory=least - 1), SVD_XT)
    work = replace(work_of(config(attention="spectral"), SVD_XT), frames=30)
    assert plan_memory(work, 24 * GIB, GIB, 0) is not None


def test_on_a_cpu_nothing_waits_elsewhere():
    """18 GiB are enough for the states of 1000 frames, but not for their skips, which would be in the same memory."""
    with pytest.raises(ConfigError, match="1000 frames of 1024x576 take at least .* but --memory allows 18.0 GiB"):
        fit_memory(config(frames=1000, memory="18GiB"), SVD_XT)
    assert not fit_memory(config(memory="18GiB"), SVD_XT).host_skips
    assert host_room(torch.device("cpu")) == host_room(torch.device("mps")) == 0


def test_what_waits_on_the_host_has_to_fit_there(monkeypatch):
    for room, fits in ((30, True), (20, False)):
        monkeypatch.setattr("longtake.core.budget.denoising.host_room", lambda _, room=room: room * GIB)
        if fits:
            plan = fit_memory(config(frames=1000, memory="18GiB"), SVD_XT)
            assert 20 * GIB < plan.on_host < 30 * GIB
            assert f"skips in the host's memory ({amount(plan.on_host)})" in describe(plan)
        else:
            with pytest.raises(ConfigError, match="1000 frames of 1024x576 take at least"):
                fit_memory(config(frames=1000, memory="18GiB"), SVD_XT)


def test_a_device_that_is_not_here_is_planned_for_with_the_memory_that_is_said():
    away = config().model_copy(update={"device": "xpu:7"})
    assert not is_here(torch.device("xpu:7"))
    with pytest.raises(ConfigError, match="how much memory is free on xpu:7 is not known here; .*: --memory"):
        fit_memory(away, SVD_XT)
    assert fit_memory(away.model_copy(update={"memory": 18 * GIB, "frames": 1000}), SVD_XT).host_skips


def test_by_default_what_is_free_may_be_taken():
    free = free_memory(torch.device("cpu"))
    assert free > GIB // 4
    tiny = replace(SVD_XT, unet=replace(SVD_XT.unet, parameters=0, channels=(32, 32)))
    budgets = [fit_memory(config(), tiny).budget, fit_memory(config(), tiny, weights_loaded=True).budget]
    assert all(abs(budget - free) < 2 * GIB for budget in budgets)


def test_weights_that_are_brought_part_by_part_do_not_count(tiny_model, picture, builtins, monkeypatch):
    pipeline = copy.deepcopy(tiny_model.pipeline)
    planned = []

    def plan(*given, **more):
        planned.append((given, more))
        raise LookupError("planned")

    monkeypatch.setattr("longtake.core.generate.fit_memory", plan)
    for offloaded in (False, True):
        if offloaded:
            cpu = torch.device("cpu")
            pipeline.unet.enable_group_offload(onload_device=cpu, offload_device=cpu, offload_type="leaf_level")
        with pytest.raises(LookupError, match="planned"):
            generate(picture, model=Model.of(pipeline), plugins=builtins, frames=3, **SMALL)
    (_, facts), told = planned[0]
    assert (facts.unet.parameters, told) == (tiny_model.facts.unet.parameters, {"weights_loaded": True})
    assert planned[1][0][1].unet.parameters == 0


def test_frames_that_the_unet_sees_at_a_time_are_told_as_such(roomy):
    asked = config(context={"name": "static", "window": 50}, memory="3GiB")
    with pytest.raises(ConfigError, match="^50 frames at a time, of 100, of 1024x576 take at least 3.6 GiB, but"):
        fit_memory(asked, SVD_XT)


class FakeEngine:
    split = Split(compiled=True)

    def run(self):
        return torch.ones(1)


class Exhausted:
    """A UNet's forward that is out of memory so many times."""

    def __init__(self, engine, times):
        self.run, self.times, self.splits = engine.run, times, []
        self.engine = engine
        engine.run = self

    def __call__(self, *given):
        self.splits.append((self.engine.split, self.engine.make_skips))
        if len(self.splits) <= self.times:
            raise torch.OutOfMemoryError("tried to allocate 2 GiB")
        return self.run(*given)


def denoiser(times):
    def stock(latents, sigma, *, conditional=True, part=None):
        return engine.run()

    engine = FakeEngine()
    exhausted = Exhausted(engine, times)
    plan = plan_memory(work_of(config(), SVD_XT), 16 * GIB, GIB, 100 * GIB)
    return FrugalDenoiser(stock, engine, plan, torch.device("cpu")), exhausted


def test_out_of_memory_goes_on_with_half_until_it_fits(caplog, roomy):
    frugal, exhausted = denoiser(1)
    with caplog.at_level(logging.WARNING, logger="longtake"):
        assert frugal(torch.zeros(1), 3.0) == 1
    splits = [split for split, _ in exhausted.splits]
    assert len(splits) == 2
    assert splits[0] != splits[-1]
    assert all(split.compiled for split in splits)  # as it was asked for, before and after
    assert exhausted.splits[0][1] is Skips
    assert isinstance(exhausted.splits[-1][1](), HostSkips)
    assert "out of memory at sigma 3; going on with about" in caplog.text
    assert frugal(torch.zeros(1), 2.0) == 1  # and stays so
    assert exhausted.splits[-1][0] == splits[-1]


@pytest.mark.parametrize("frames", [25, 200, 1000])
def test_out_of_memory_does_not_at_once_leave_the_smallest_chunks(frames, roomy):
    plan = plan_memory(work_of(config(frames=frames), SVD_XT), 24 * GIB, GIB, 100 * GIB)
    least, _ = workspaces(plan.work)
    frugal = Frugal(FakeEngine(), plan, torch.device("cpu"))
    plans = [plan]
    while (smaller := frugal._smaller()) is not None:
        assert smaller.peak < plans[-1].peak
        plans.append(smaller)
        frugal.plan = smaller
    beside = [each.peak - each.work.weights for each in plans]
    assert beside[1] >= beside[0] / 4 or plans[1].split.workspace > least
    assert plans[-1].split.workspace == least
    assert 2 <= len(plans) < 20


def test_out_of_memory_that_nothing_helps_is_raised():
    frugal, exhausted = denoiser(99)
    with pytest.raises(torch.OutOfMemoryError):
        frugal(torch.zeros(1), 3.0)
    least, _ = workspaces(frugal._frugal.plan.work)
    assert exhausted.splits[-1][0] == Split(workspace=least, keep=False, compiled=True)
    assert len(exhausted.splits) < 10


@pytest.mark.parametrize(("workspace", "branches"), [(24 * 2**20, 2), (200_000, 1)])
def test_a_run_that_is_out_of_memory_half_way_gives_the_same_video(
    tiny_model, picture, builtins, out_of_memory_once, caplog, monkeypatch, workspace, branches
):
    monkeypatch.setitem(WORKSPACE, "cpu", workspace)
    whole = generate(picture, model=tiny_model, plugins=builtins, frames=7, **SMALL)
    calls = out_of_memory_once()
    again = generate(picture, model=tiny_model, plugins=builtins, frames=7, **SMALL)
    assert "out of memory at sigma" in caplog.text
    assert calls[0].videos == branches
    assert calls[-1].videos == 1
    assert calls[-1] != calls[0]
    torch.testing.assert_close(again.latents, whole.latents, atol=1e-4, rtol=0)
    assert np.abs(again.frames.astype(int) - whole.frames).max() <= 1


def test_a_small_budget_gives_the_same_video(tiny_model, picture, builtins):
    whole = generate(picture, model=tiny_model, plugins=builtins, frames=7, **SMALL)
    decoding = least_decoding(decode_work(whole.config, tiny_model.facts, weights_loaded=True), on_host=False)
    least = max(least_budget(work_of(whole.config, tiny_model.facts), 0), decoding.peak)
    tight = generate(picture, model=tiny_model, plugins=builtins, frames=7, memory=least, **SMALL)
    torch.testing.assert_close(tight.latents, whole.latents, atol=1e-4, rtol=0)
    assert np.abs(tight.frames.astype(int) - whole.frames).max() <= 1
    with pytest.raises(ConfigError, match="7 frames of 32x24 take at least .*; what fits: "):
        generate(picture, model=tiny_model, plugins=builtins, frames=7, memory="10KiB", **SMALL)


def test_a_plan_can_be_looked_at_for_a_device_that_is_not_here(cli):
    away = ("plan", "--frames", "1000", "--model", SVD_XT.name, "--dtype", "float16", "--device", "xpu:7")
    shown = cli(*away, "--memory", "24GiB").stdout
    # As the README says: 16 GiB of the device and 28 GiB of its host.
    assert re.search(
        r"memory for denoising on xpu:7: about 16\.\d GiB at the most: .* the host's memory \(27\.8 GiB\)", shown
    )
    assert "time for denoising on xpu:7: not known, as it is not here" in shown
    assert "memory of the host: taken to be 64.0 GiB free, as this machine has no xpu:7" in shown
    data = json.loads(cli(*away, "--memory", "24GiB", "--json").stdout)
    assert data["seconds"] is None
    assert data["host_memory_assumed"] == 64 * 2**30
    assert "host_memory_assumed" not in json.loads(cli("plan", "--frames", "9", "--json").stdout)


def test_memory_that_is_not_known_is_not_said_to_be_too_little(cli):
    away = ("plan", "--frames", "1000", "--model", SVD_XT.name, "--device", "xpu:7")
    shown = cli(*away).stdout
    said = "how much memory is free on xpu:7 is not known here; say how much there is: --memory"
    assert f"memory for denoising on xpu:7: not known, as {said}\n" in shown
    assert f"memory for decoding: not known, as {said}\n" in shown
    assert "does not fit" not in shown
    data = json.loads(cli(*away, "--json").stdout)
    assert data["memory"] == data["decoding"] == {"not_known": said}


def test_the_plan_shows_memory_and_says_what_does_not_fit(cli):
    shown = cli("plan", "--frames", "9", "--model", "{tiny}").stdout
    assert re.search(r"memory for decoding: about \d+ MiB at the most: .*; all frames at once\n", shown)
    assert re.search(r"memory for denoising on cpu: about \d+ MiB at the most: weights \d+ MiB, states", shown)
    assert "skips on the device, both branches of guidance at once\n" in shown
    assert "both branches" not in cli("plan", "--frames", "9", "--model", "{tiny}", "--reuse", "2").stdout
    assert (
        json.loads(cli("plan", "--frames", "9", "--model", "{tiny}", "--json").stdout)["memory"]["branches_at_once"]
        == 2
    )
    asked = ("plan", "--frames", "1000", "--model", SVD_XT.name, "--device", "cpu", "--memory", "8GiB")
    assert "1000 frames of 1024x576 take at least" in cli(*asked).stdout
    assert '"does_not_fit": "1000 frames' in cli(*asked, "--json").stdout
    refused = cli("generate", "start.png", "-o", "out.mp4", "--memory", "10KiB", "--model", "{tiny}", code=2).stderr
    assert "what fits: " in refused
