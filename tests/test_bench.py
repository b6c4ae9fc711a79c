"""The bench: contenders take turns, ratios are within a round, and whoever runs out of memory is told."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from functools import partial

import pytest
import torch
from click.testing import CliRunner
from hypothesis import given as drawn
from hypothesis import strategies as st
from PIL import Image

from longtake.core.errors import LongtakeError
from longtake.plugins.bench.commands import bench
from longtake.plugins.bench.contenders import SPEED, UNET
from longtake.plugins.bench.figures import draw_lengths
from longtake.plugins.bench.limit import find_limits, longest
from longtake.plugins.bench.models import SIZES, random_pipeline
from longtake.plugins.bench.page import add_results, limits, read_results, table
from longtake.plugins.bench.pairs import Result, compare, timed_inside
from longtake.plugins.bench.peak import watched
from longtake.plugins.bench.run import CONTENDERS, given

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
    assert {base.base, fast.base, large.base} == {"diffusers"}
    text = table([base, fast, large], "unet")
    assert text.splitlines()[0] == "| | 5 frames |"
    assert "| large | out of memory |" in text


@torch.no_grad()
def test_all_contenders_give_the_same_numbers():
    torch.manual_seed(0)
    pipeline = random_pipeline(TINY, CPU, torch.float32)
    models = {
        "unet": pipeline.unet,
        "guided": pipeline.unet,
        "length": pipeline.unet,
        "limit": pipeline.unet,
        "decode-limit": pipeline.vae,
        "decode": pipeline.vae,
        "pipeline": pipeline,
    }
    assert set(models) == set(CONTENDERS) - {"speed"}  # whose contenders are not meant to be equal
    for part, model in models.items():
        asked, made = given(part, TINY, 5, 2, CPU, torch.float32), {}
        for name, setup in CONTENDERS[part].items():
            # Nor are those equal that are known not to be exact.
            if "compiled" not in name and "at a time" not in name and "decoding in chunks" not in name:
                with setup(model, asked) as call:
                    made[name] = call()
        assert len(made) > 1
        # Pictures are rounded to 8 bits by longtake alone.
        atol = 0.6 / 255 if part == "pipeline" else 1e-5
        for result in made.values():
            torch.testing.assert_close(result.reshape(-1), made["diffusers"].reshape(-1), atol=atol, rtol=0)
    assert "forward" not in vars(pipeline.unet)
    assert all(module._chunk_size is None for module in pipeline.unet.modules() if hasattr(module, "_chunk_size"))


def test_the_command_writes_what_the_page_shows(tmp_path, monkeypatch):
    monkeypatch.setitem(CONTENDERS, "speed", {name: SPEED[name] for name in ("fast", "draft")})  # few steps
    path = tmp_path / "bench.json"
    asked = ["-o", str(path), "--size", "tiny", "--frames", "3", "--rounds", "1", "--device", "cpu"]
    done = CliRunner().invoke(bench, asked)
    assert done.exit_code == 0, done.output
    assert re.search(r"unet +3 frames  longtake ", done.output)
    results, about = read_results(path)
    assert set(about) == {"machine", "libraries"}
    assert {result.what for result in results} == {"unet", "guided", "decode", "pipeline", "length", "speed"}
    assert all(len(result.seconds) == len(result.ratios) == 1 for result in results)
    assert {(result.size, result.dtype, result.frames) for result in results} == {("tiny", "float32", 3)}
    assert "| longtake | " in table(results, "decode")
    assert table(results, "unet").count("\n") == len(UNET) - 1  # two lines of head, and all but the two compiled ones
    draw_lengths(results, tmp_path / "length.png")
    assert Image.open(tmp_path / "length.png").width == 1000
    again = [*asked, "--part", "decode", "--frames", "2"]
    assert CliRunner().invoke(bench, again).exit_code == 0
    more, _ = read_results(path)
    assert [result for result in more if result.what != "decode"] == [
        result for result in results if result.what != "decode"
    ]
    assert {result.frames for result in more if result.what == "decode"} == {2, 3}
    path.write_text(path.read_text().replace("torch", "another torch"))
    refused = CliRunner().invoke(bench, asked)
    assert isinstance(refused.exception, LongtakeError)
    assert "write to another file" in str(refused.exception)
    path.write_text("{}")
    with pytest.raises(LongtakeError, match="holds no results of a bench"):
        read_results(path)


def test_each_length_is_kept_when_it_is_done(tmp_path, monkeypatch):
    def stopped(part, frames, **asked):
        yield Result(part, 3, "diffusers", [1.0], [1.0])
        yield Result(part, 3, "longtake", [1.0], [1.0])
        yield Result(part, 4, "diffusers", [1.0], [1.0])
        raise KeyboardInterrupt

    monkeypatch.setattr("longtake.plugins.bench.run.compare_part", stopped)
    path = tmp_path / "bench.json"
    CliRunner().invoke(bench, ["-o", str(path), "--part", "unet", "--device", "cpu"])
    results, _ = read_results(path)
    assert [(result.frames, result.contender) for result in results] == [(3, "diffusers"), (3, "longtake")]


def test_seconds_of_a_step_are_those_of_the_unet_whoever_calls_it(tmp_path):
    path = tmp_path / "bench.json"
    asked = [
        "--size",
        "tiny",
        "--frames",
        "2",
        "--rounds",
        "2",
        "--device",
        "cpu",
        "--part",
        "pipeline",
        "--steps",
        "3",
    ]
    assert CliRunner().invoke(bench, ["-o", str(path), *asked]).exit_code == 0
    results, _ = read_results(path)
    assert len(results) == 3
    for result in results:
        assert (result.steps, result.base, len(result.unet)) == (3, "diffusers", 2)
        assert all(0 < unet < whole for unet, whole in zip(result.unet, result.seconds, strict=True))
    assert re.fullmatch(r"\| \| 2 frames, 3 steps \|", table(results, "pipeline").splitlines()[0])
    assert len(re.findall(r"s \(\d+\.\d\d s a step\)", table(results, "pipeline"))) == 3


def test_calls_of_a_module_are_timed_for_the_time_of_a_block(monkeypatch):
    clock = iter([1.0, 3.0, 10.0, 14.5])
    monkeypatch.setattr("longtake.plugins.bench.pairs._now", lambda device: next(clock))
    module = torch.nn.Identity()
    with timed_inside(module, CPU) as spent:
        module.forward = lambda states: states  # as the engine stands for the UNet's
        module(1)
        module(1)
    module(1)  # when the clock has run out
    assert spent == [2.0, 4.5]
    with timed_inside(None, CPU) as nothing:
        module(1)
    assert not nothing


def test_what_was_asked_stands_over_each_column_and_another_first_contender_in_the_cell():
    made = [
        Result("pipeline", 25, "diffusers", [50.0], [1.0], base="diffusers", steps=25),
        Result("pipeline", 25, "longtake", [20.0], [2.5], base="diffusers", steps=25, unet=[15.0]),
        Result("pipeline", 25, "longtake", [4.0], [1.0], steps=1, cap=24.0),
        Result("pipeline", 80, "in chunks", [9.0], [1.0], base="in chunks", steps=3),
        Result("pipeline", 80, "longtake", [6.0], [1.5], base="in chunks", steps=3),
    ]
    assert table(made, "pipeline").splitlines() == [
        "| | 25 frames, 1 step within 24 GiB | 25 frames, 25 steps | 80 frames, 3 steps |",
        "|---|---|---|---|",
        "| diffusers | – | 50.00 s: 1.00 (1.00 … 1.00) | – |",
        "| longtake | 4.00 s: – | 20.00 s (0.60 s a step): 2.50 (2.50 … 2.50) "
        "| 6.00 s: 1.50 (1.50 … 1.50) beside in chunks |",
        "| in chunks | – | – | 9.00 s: 1.00 (1.00 … 1.00) |",
    ]


def test_limits_have_a_table_of_their_own():
    found = [
        Result("limit", 43, "diffusers", [], [], cap=24.0),
        Result("limit", 1000, "longtake", [], [], cap=24.0, tried=1000),
        Result("limit", 80, "longtake", [], []),
    ]
    assert limits(found, "limit").splitlines() == [
        "| | frames within 24 GiB | frames |",
        "|---|---|---|",
        "| diffusers | 43 | – |",
        "| longtake | 1000 or more | 80 |",
    ]
    assert limits(found, "decode-limit") == table(found, "pipeline") == "*Not measured yet.*"


def test_limits_take_the_place_of_limits_whatever_came_out(tmp_path):
    path = tmp_path / "bench.json"
    add_results([Result("limit", 80, "diffusers", [], []), Result("limit", 200, "longtake", [], [])], path, CPU)
    again = [Result("limit", 80, "diffusers", [], []), Result("limit", 300, "longtake", [], [])]
    add_results(again, path, CPU)
    assert read_results(path)[0] == again


@drawn(most=st.integers(1, 5000), tries=st.integers(1, 4096))
def test_the_most_frames_that_fit_are_found(most, tries):
    tried = []

    def fits(frames):
        tried.append(frames)
        return frames <= most

    found = longest(fits, tries)
    assert found <= min(most, tries)
    assert found >= min(most, tries) * 0.95 - 1 or most < min(14, tries)
    assert len(tried) == len(set(tried)) <= 20
    assert max(tried) <= tries


def test_the_limit_of_a_contender_is_where_its_memory_ends():
    @contextmanager
    def takes(each, frames):
        def call():
            if each * frames > 1000:
                raise torch.OutOfMemoryError("no more")

        yield call

    contenders = {"large": partial(takes, 20), "small": partial(takes, 1), "none": partial(takes, 500)}
    found = list(find_limits("limit", contenders, 4096, CPU))
    assert {result.what for result in found} == {"limit"}
    assert [
        (result.contender, 0.95 * most <= result.frames <= most)
        for result, most in zip(found, (50, 1000, 0), strict=True)
    ] == [("large", True), ("small", True), ("none", True)]


def test_what_is_for_a_gpu_is_refused_elsewhere(tmp_path):
    for asked in (["--part", "limit"], ["--part", "decode-limit"], ["--cap", "24"]):
        done = CliRunner().invoke(bench, ["-o", str(tmp_path / "bench.json"), "--device", "cpu", *asked])
        assert isinstance(done.exception, LongtakeError)
        assert "are for a GPU of NVIDIA or AMD, not for cpu" in str(done.exception)
    assert not list(tmp_path.iterdir())


def test_where_results_cannot_be_written_nothing_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr("longtake.plugins.bench.run.compare_part", None)
    (tmp_path / "taken").touch()
    done = CliRunner().invoke(bench, ["-o", str(tmp_path / "taken" / "bench.json"), "--device", "cpu"])
    assert isinstance(done.exception, LongtakeError)
    assert "cannot make folder" in str(done.exception)


def test_a_contender_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    asked = ["-o", str(tmp_path / "bench.json"), "--device", "cpu", "--part", "decode", "--contender", "another"]
    done = CliRunner().invoke(bench, asked)
    assert isinstance(done.exception, LongtakeError)
    assert "no contender 'another' in what is to be measured, but diffusers, " in str(done.exception)
    assert not list(tmp_path.iterdir())


def test_where_the_first_contender_runs_out_of_memory_the_others_are_told_without_ratios():
    contenders = {name: partial(waiting, seconds, [], name) for name, seconds in {"large": None, "small": 0.01}.items()}
    large, small = compare("unet", 5, contenders, 2, CPU)
    assert (large.ratio(), small.ratio(), len(small.seconds)) == ("out of memory", "–", 2)
    assert re.search(r"\| small \| 0.01 s.*: – \|", table([large, small], "unet"))


def test_only_some_contenders_may_be_called_and_the_first_call_may_count(tmp_path):
    path, calls = tmp_path / "bench.json", []
    asked = ["-o", str(path), "--size", "tiny", "--frames", "2", "--rounds", "1", "--device", "cpu", "--part", "decode"]
    assert CliRunner().invoke(bench, [*asked, "--contender", "longtake", "--cold"]).exit_code == 0
    (alone,) = read_results(path)[0]
    assert (alone.contender, alone.base, alone.ratio()) == ("longtake", "", "–")  # there is nothing to compare it with
    compare("unet", 5, {"one": partial(waiting, 0.001, calls, "one")}, 2, CPU, cold=True)
    assert calls == ["one", "one"]


def test_memory_that_a_call_takes_is_seen():
    with watched(CPU) as peak:
        numbers = torch.ones(50_000_000)
        time.sleep(0.05)
        del numbers
    assert 180e6 < peak.bytes < 400e6
    with watched(CPU) as nothing:
        time.sleep(0.05)
    assert nothing.bytes < 20e6
