"""What fails in the middle of things is told with plugin, strategy or hook, step, file and line."""

from __future__ import annotations

import pytest
import torch
from odd_plugins import ATTENTION, POSITIONAL, REGISTER, SMALL

from longtake import generate
from longtake.core.errors import LongtakeError, PluginError


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            "q_PNFD / helper",
            r"plugin 'odd' failed in its attention strategy 'odd' at step 2 of 3: NameError: name 'helper' is not "
            r"defined\nat longtake_odd.py, line 8",
        ),
        (
            "torch.zeros(2, 3) + torch.zeros(4)",
            r"plugin 'odd' failed in its attention strategy 'odd' at step 2 of 3: RuntimeError: .*\nat longtake_odd.py",
        ),
        (
            "q_PNFD[:1]",
            r"strategy 'odd' must return \(.*\) from attend, got \(1, .*\) \(of plugin 'odd' at step 2 of 3\)",
        ),
        (
            "q_PNFD * float('nan')",
            r"attention strategy 'odd' must return finite numbers from attend \(of plugin 'odd' at step 2 of 3\)",
        ),
    ],
)
def test_a_strategy_that_fails_in_mid_run_is_named(tiny_model, picture, plugins_with, tmp_path, wrong, message):
    plugins = plugins_with(ATTENTION.format(wrong=wrong) + REGISTER)
    with pytest.raises(PluginError, match=message):
        generate(picture, model=tiny_model, plugins=plugins, attention="odd", output=tmp_path / "a.npy", **SMALL)
    assert not list(tmp_path.iterdir())
    assert "forward" not in vars(tiny_model.pipeline.unet)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("frames_F[1:]", r"positional strategy 'odd' must give 7 positions, got shape \(6,\) \(of plugin 'odd'\)"),
        ("frames_F / 0", r"positional strategy 'odd' must give finite positions \(of plugin 'odd'\)"),
        ("1 / 0", r"plugin 'odd' failed in its positional strategy 'odd': ZeroDivisionError: .*\nat longtake_odd.py"),
        (
            "frames_F if span.step < 1 else frames_F[1:]",
            r"must give 7 positions, got shape \(6,\) \(of plugin 'odd' at step 2 of 3\)",
        ),
    ],
)
def test_what_fails_while_it_is_planned_is_named_too(tiny_model, picture, plugins_with, wrong, message):
    plugins = plugins_with(POSITIONAL.format(wrong=wrong) + REGISTER)
    with pytest.raises(PluginError, match=message):
        generate(picture, model=tiny_model, plugins=plugins, positional="odd", **SMALL)


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        ("longtake_run_started(run):", "failed in longtake_run_started: ValueError: no"),
        ("longtake_after_step(step):", "failed in longtake_after_step at step 1 of 3: ValueError: no"),
        ("longtake_frames_decoded(frames):", "failed in longtake_frames_decoded: ValueError: no"),
    ],
)
def test_a_hook_that_fails_is_named(tiny_model, picture, plugins_with, hook, message):
    plugins = plugins_with(f"@longtake.hookimpl\ndef {hook}\n    raise ValueError('no')\n")
    with pytest.raises(PluginError, match=f"plugin 'odd' {message}\nat longtake_odd.py, line 4"):
        generate(picture, model=tiny_model, plugins=plugins, **SMALL)


def test_a_prediction_of_another_shape_is_refused(tiny_model, picture, plugins_with):
    plugins = plugins_with("@longtake.hookimpl\ndef longtake_predict(step):\n    return step.latents[:, 1:]\n")
    with pytest.raises(PluginError, match=r"shape \(1, 7, .*\), got shape \(1, 6, .*\), at step 1 of 3; .*: odd$"):
        generate(picture, model=tiny_model, plugins=plugins, **SMALL)


def test_a_method_that_is_lacking_is_said_to_lack(tiny_model, picture, plugins_with):
    code = "class Odd(longtake.GuidanceSchedule):\n    name = 'lazy'\n" + REGISTER
    said = "plugin 'odd' failed in its guidance strategy 'lazy': NotImplementedError: .*'lazy' has no method scales"
    with pytest.raises(PluginError, match=said):
        generate(picture, model=tiny_model, plugins=plugins_with(code), guidance="lazy", **SMALL)


def test_what_is_not_a_plugins_fault_is_not_blamed_on_it(tiny_model, picture, plugins_with, monkeypatch):
    plugins = plugins_with("@longtake.hookimpl\ndef longtake_after_step(step):\n    pass\n")

    def broken(*_, **__):
        raise ValueError("ours")

    monkeypatch.setattr("longtake.core.generate.decode_frugally", broken)
    with pytest.raises(ValueError, match="ours"):
        generate(picture, model=tiny_model, plugins=plugins, **SMALL)


def test_a_sentence_of_a_plugin_stays_and_says_whose_it_is(tiny_model, picture, plugins_with):
    code = "@longtake.hookimpl\ndef longtake_after_step(step):\n    raise longtake.LongtakeError('say please')\n"
    with pytest.raises(LongtakeError, match=r"^say please \(plugin 'odd' at step 1 of 3\)$"):
        generate(picture, model=tiny_model, plugins=plugins_with(code), **SMALL)


def test_out_of_memory_is_not_blamed_on_anyone(tiny_model, picture, plugins_with):
    code = "@longtake.hookimpl\ndef longtake_run_started(run):\n    raise torch.OutOfMemoryError('full')\n"
    with pytest.raises(torch.OutOfMemoryError):
        generate(picture, model=tiny_model, plugins=plugins_with(code), **SMALL)
