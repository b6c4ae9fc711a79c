"""Plans: what the strategies say they will do is what they do, and nonsense is named before anything is computed."""

from __future__ import annotations

import io
import re

import pytest
import torch
from rich.console import Console

import longtake
from longtake import AttentionStrategy, PositionalStrategy, Windows, load_config, make_plan, read_facts, resolve
from longtake.core.cli.plan_tables import print_tables
from longtake.core.cli.plan_view import Needs
from longtake.core.errors import ConfigError, PluginError

REGISTRY = longtake.load_plugins(third_party=False).registry
SVD = read_facts("stabilityai/stable-video-diffusion-img2vid")


def plan(**asked):
    return make_plan(resolve(load_config({"frames": 30, "seed": 1} | asked, REGISTRY), SVD, REGISTRY), SVD)


def test_windows_that_count_from_zero_show_positions_of_a_window():
    local = plan(positional="yarn", attention={"name": "freenoise", "positions": "local"})
    assert local.positions_F.tolist() == list(range(14))
    assert local.temperature == 1
    assert torch.equal(local.frequencies_K, local.trained_K)
    everywhere = plan(positional="linear", attention={"name": "freenoise", "positions": "global"})
    assert len(everywhere.positions_F) == 30
    assert everywhere.positions_F[-1] < 14


@pytest.mark.parametrize(
    ("positional", "said"),
    [
        # 0.9 · 14.07 / 30 of the trained one, 14.07 being the period nearest to 14: 1 / 0.422 = 2.37.
        ("riflex", "frequencies divided by 1 (fastest) to 1 (slowest), 2.37 between;"),
        ("ntk", "frequencies divided by 1 (fastest) to 2.14 (slowest);"),
    ],
)
def test_the_table_says_what_becomes_of_frequencies(positional, said):
    config = resolve(load_config({"frames": 30, "seed": 1, "positional": positional}, REGISTRY), SVD, REGISTRY)
    console = Console(record=True, width=200, file=io.StringIO())
    print_tables(
        make_plan(config, SVD), config, Needs(ConfigError("not asked"), ConfigError("not asked"), [1.0]), console
    )
    assert said in console.export_text()


@pytest.mark.parametrize(
    ("frames", "steps", "attention", "titles"),
    [
        (60, 60, "full", ["frames", "steps"]),
        (61, 25, "full", ["frames, one in 2 of 61 and the last (--json tells all)", "steps"]),
        (1000, 100, "full", ["frames, one in 20 of 1000 and the last", "steps, one in 2 of 100 and the last"]),
        (350, 1, "freenoise", ["frames, one in 10 of 350", "video, one in 2 of 113"]),
    ],
)
def test_of_long_tables_some_rows_are_shown_and_the_last(frames, steps, attention, titles):
    asked = {"frames": frames, "steps": steps, "attention": attention, "seed": 1}
    config = resolve(load_config(asked, REGISTRY), SVD, REGISTRY)
    console = Console(record=True, width=200, file=io.StringIO())
    print_tables(
        make_plan(config, SVD), config, Needs(ConfigError("not asked"), ConfigError("not asked"), [1.0]), console
    )
    text = console.export_text()
    assert all(title in text for title in titles)
    rows = re.findall(r"^│ +(\d+) │", text, re.MULTILINE)
    assert {str(frames - 1), str(steps)} <= set(rows)  # frames count from 0, steps from 1
    assert len(rows) <= 3 * 61


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(2.345, "2.3 s"), (99, "99 s"), (100, "2 min"), (7200, "2 h"), (200_000, "56 h"), (5e6, "58 days")],
)
def test_durations_are_told_in_the_unit_that_fits(seconds, said):
    config = resolve(load_config({"frames": 14, "seed": 1}, REGISTRY), SVD, REGISTRY)
    console = Console(record=True, width=200, file=io.StringIO())
    print_tables(
        make_plan(config, SVD), config, Needs(ConfigError("not asked"), ConfigError("not asked"), [seconds]), console
    )
    text = console.export_text()
    assert f"roughly {said}, {said} a step" in text
    assert text.count("does not fit: not asked") == 2


def test_the_noise_shown_is_the_noise_used():
    order = plan(noise="freenoise").noise_sources_F
    assert torch.equal(order, plan(noise="freenoise").noise_sources_F)
    assert not torch.equal(order, plan(noise="freenoise", seed=2).noise_sources_F)


@pytest.mark.parametrize("steps", [1, 2, 9])
def test_a_step_is_known_by_its_sigma(steps):
    made = plan(steps=steps)
    assert [made.step_at(float(sigma)) for sigma in made.sigmas_S1[:-1]] == list(range(steps))
    assert made.progress(0) == 0
    assert made.progress(steps - 1) == (1 if steps > 1 else 0)


@pytest.mark.parametrize("kind", ["attention", "noise"])
def test_a_stride_beyond_the_window_is_refused_with_both_numbers(kind):
    with pytest.raises(ConfigError, match=f"{kind}.stride must not exceed the window, got stride=20 with window=14"):
        plan(**{kind: {"name": "freenoise", "stride": 20}})


class Gap(AttentionStrategy):
    name = "gap"

    def windows(self, span):
        return Windows(10, [0, 5], torch.ones(2, span.frames))


class Blind(AttentionStrategy):
    name = "blind"

    def mask(self, span):
        return torch.zeros(span.frames, span.frames, dtype=torch.bool)


class Small(AttentionStrategy):
    name = "small"

    def mask(self, span):
        return torch.ones(3, 3, dtype=torch.bool)


class Listed(PositionalStrategy):
    name = "listed"

    def positions(self, frames_F, span):
        return frames_F.tolist()


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        (Gap(), "'gap' must give windows whose weights sum to 1"),
        (Blind(), "'blind' leaves a frame without anything to see"),
        (Small(), r"'small' must give a mask of 30 x 30, got \(3, 3\)"),
        (Listed(), "'listed' must give 30 positions, got list"),
    ],
)
def test_a_strategy_that_returns_nonsense_is_named(strategy, message):
    with pytest.raises(PluginError, match=message):
        plan(**{strategy.kind: strategy})


class MaskedWindows(AttentionStrategy):
    """Windows, in each of which every frame sees only itself."""

    name = "masked-windows"

    def windows(self, span):
        return Windows(span.frames, [0], torch.ones(1, span.frames))

    def mask(self, span):
        return torch.eye(span.frames, dtype=torch.bool)


def test_a_mask_acts_inside_windows_too():
    q, k, v = torch.randn(3, 2, 2, 6, 4, generator=torch.Generator().manual_seed(0))
    seen = MaskedWindows().attend(q, k, v, longtake.Span(frames=6, trained=4), None)
    torch.testing.assert_close(seen, v)
