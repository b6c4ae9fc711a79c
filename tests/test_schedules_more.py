"""Correlated noise, noise of a file, trapezoids and keyframes."""

from __future__ import annotations

import math
import os

import numpy as np
import pytest
import torch
from hostile import array, npy, npz
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.torch import save_file

from longtake import Span, generate
from longtake.core.errors import ConfigError
from longtake.schedules.correlated import Mixed, Progressive
from longtake.schedules.given import File
from longtake.schedules.guidance import Keyframes, Linear, Trapezoid
from longtake.schedules.keyframes import interpolate
from longtake.schedules.motion import Keyframes as MotionKeyframes
from longtake.schedules.noise import Independent

SHAPE = (1, 12, 4, 32, 48)  # 6144 values a frame: the deviation of a correlation is about 1 / sqrt(6144) = 0.013


def noise(strategy, shape=SHAPE, seed=1):
    return strategy.noise(shape, torch.arange(shape[1]), torch.Generator().manual_seed(seed))


def correlations(strategy, shape=SHAPE) -> torch.Tensor:
    return torch.corrcoef(noise(strategy, shape)[0].flatten(1))


@pytest.mark.parametrize("alpha", [0.3, 1.0, 3.0])
def test_mixed_noise_correlates_alike_at_every_distance(alpha):
    found = correlations(Mixed(alpha=alpha))
    expected = torch.full((12, 12), alpha**2 / (1 + alpha**2)).fill_diagonal_(1)
    torch.testing.assert_close(found, expected, atol=0.05, rtol=0)


@pytest.mark.parametrize("alpha", [0.5, 2.0])
def test_progressive_noise_correlates_less_with_the_distance(alpha):
    rho = alpha / math.sqrt(1 + alpha**2)
    expected = torch.tensor([[rho ** abs(one - other) for other in range(12)] for one in range(12)])
    torch.testing.assert_close(correlations(Progressive(alpha=alpha)), expected, atol=0.05, rtol=0)


@pytest.mark.parametrize("alpha", [0.5, 2.0])
def test_closed_noise_has_no_first_and_no_last_frame(alpha):
    found = correlations(Progressive(alpha=alpha, closed=True))
    neighbours = torch.stack([found[frame, (frame + 1) % 12] for frame in range(12)])
    assert neighbours.max() - neighbours.min() < 0.08
    assert neighbours[-1] > 0.3  # the last and the first


@given(frames=st.integers(2, 300), alpha=st.floats(0, 20), closed=st.booleans())
def test_correlated_noise_has_a_covariance_that_is_one(frames, alpha, closed):
    correlation_FF = Progressive(alpha=alpha, closed=closed).correlation(frames)
    torch.testing.assert_close(correlation_FF.diagonal(), torch.ones(frames, dtype=torch.float64))
    assert torch.linalg.eigvalsh(correlation_FF).min() > 0
    if closed:
        torch.testing.assert_close(correlation_FF.roll((1, 1), (0, 1)), correlation_FF)


def test_progressive_is_the_recursion_of_the_paper():
    """By hand, alpha = 1, three frames: e0, (e0 + e1) / sqrt 2, and half of e0 and e1 with e2 / sqrt 2."""
    own = noise(Independent(), (1, 3, 1, 2, 2))[0].flatten(1)
    made = noise(Progressive(alpha=1), (1, 3, 1, 2, 2))[0].flatten(1)
    torch.testing.assert_close(made[0], own[0])
    torch.testing.assert_close(made[1], (own[0] + own[1]) / math.sqrt(2))
    torch.testing.assert_close(made[2], (own[0] + own[1]) / 2 + own[2] / math.sqrt(2))


def test_a_ring_of_three_worked_out_by_hand():
    """rho = 1/2: neighbours, at distances of 1 and 2 both ways, correlate by (1/2 + 1/4) / (1 + 1/8) = 2/3."""
    alpha = 1 / math.sqrt(3)  # alpha / sqrt(1 + alpha²) = 1/2
    expected = torch.full((3, 3), 2 / 3, dtype=torch.float64).fill_diagonal_(1)
    torch.testing.assert_close(Progressive(alpha=alpha, closed=True).correlation(3), expected)


@pytest.mark.parametrize("strategy", [Mixed(alpha=0), Progressive(alpha=0), Progressive(alpha=0, closed=True)])
def test_nothing_shared_is_independent_noise_to_the_bit(strategy):
    assert torch.equal(noise(strategy), noise(Independent()))


@pytest.mark.parametrize("default", [torch.float64, torch.bfloat16], ids=str)
def test_noise_is_drawn_in_float32_whatever_torchs_default_is(default):
    """Another dtype would draw other numbers from the same seed."""
    strategies = (Independent(), Mixed(), Progressive(), Progressive(closed=True))
    expected = [noise(strategy, (2, 5, 4, 3, 6)) for strategy in strategies]
    torch.set_default_dtype(default)
    try:
        drawn = [noise(strategy, (2, 5, 4, 3, 6)) for strategy in strategies]
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(one, other) for one, other in zip(drawn, expected, strict=True))


@pytest.fixture
def files(tmp_path):
    held = torch.randn(6, 4, 3, 5)
    np.save(tmp_path / "noise.npy", held.numpy())
    torch.save(held[None], tmp_path / "noise.pt")
    save_file({"noise": held}, tmp_path / "noise.safetensors")
    return tmp_path, held


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nope.npy", "noise file nope.npy does not exist"),
        ("noise.txt", "noise file noise.txt must end in one of .npy, .pt, .safetensors"),
    ],
)
def test_a_file_that_is_not_there_is_refused_while_it_is_planned(path, message):
    with pytest.raises(ConfigError, match=message):
        File(path=path).sources(Span(frames=7, trained=14), torch.Generator())


@pytest.mark.parametrize("name", ["noise.npy", "noise.pt", "noise.safetensors"])
def test_noise_of_a_file_is_as_it_lies_there(files, name):
    folder, held = files
    assert torch.equal(noise(File(path=str(folder / name)), (1, 6, 4, 3, 5))[0], held)
    later = noise(File(path=str(folder / name), first=2), (2, 3, 4, 3, 5))
    assert torch.equal(later[0], held[2:5])
    assert torch.equal(later[1], held[2:5])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "noise.npy"}, r"must hold 7 frames of \(4, 3, 5\) or more, got \(6, 4, 3, 5\)"),
        ({"path": "noise.npy", "first": 3}, r"must hold 10 frames"),
        ({"path": "complex.npy"}, "noise file complex.npy must hold real numbers, got complex ones"),
        ({"path": "broken.npy"}, "noise file broken.npy cannot be read"),
        (
            {"path": "zip.npy"},
            "noise file zip.npy is an archive of arrays .*; save the one that holds the noise by itself",
        ),
        (
            {"path": "objects.npy"},
            "noise file objects.npy cannot be read: it holds Python objects, which may run any code",
        ),
        (
            {"path": "huge.npy"},
            "noise file huge.npy cannot be read: its header does not fit its content; save it again",
        ),
        ({"path": "text.npy"}, "noise file text.npy must hold real numbers, got <U1"),
        ({"path": "flat.npy"}, r"noise file flat.npy must hold \(F, C, Y, X\) or \(1, F, C, Y, X\), got \(7,\)"),
        ({"path": "sparse.pt"}, "noise file sparse.pt must hold a dense tensor, with its numbers"),
        ({"path": "junk.pt"}, "noise file junk.pt cannot be read: "),
        ({"path": "pipe.npy"}, "noise file pipe.npy cannot be read: it is a pipe"),
        ({"path": "two.safetensors"}, "must hold one tensor, got 2 things"),
        ({"path": "nan.npy"}, "holds numbers that are not finite"),
    ],
)
def test_a_file_that_does_not_do_is_refused(files, monkeypatch, options, message):
    folder, held = files
    monkeypatch.chdir(folder)
    (folder / "broken.npy").write_text("no array")
    save_file({"one": held, "two": held.clone()}, folder / "two.safetensors")
    np.save(folder / "complex.npy", np.zeros((7, 4, 3, 5), dtype=np.complex64))
    spoilt = np.zeros((7, 4, 3, 5), dtype=np.float32)
    spoilt[6, 3, 2, 4] = np.nan  # one number is enough
    np.save(folder / "nan.npy", spoilt)
    (folder / "zip.npy").write_bytes(npz())
    (folder / "objects.npy").write_bytes(array(np.array([1, {}], dtype=object)))
    (folder / "huge.npy").write_bytes(npy("{'shape': (10000000, 4, 300, 500), 'descr': '<f4', 'fortran_order': False}"))
    np.save(folder / "text.npy", np.array(["a"]))
    np.save(folder / "flat.npy", np.zeros(7))
    torch.save(torch.zeros(7, 4, 3, 5).to_sparse(), folder / "sparse.pt")
    (folder / "junk.pt").write_text("junk")
    os.mkfifo(folder / "pipe.npy")
    with pytest.raises(ConfigError, match=message):
        noise(File(**options), (1, 7, 4, 3, 5))
    # And before a model is loaded.
    said = "must hold" if options["path"] == "noise.npy" else message
    with pytest.raises(ConfigError, match=said):
        File(**options).sources(Span(frames=7, trained=14), torch.Generator())


def test_what_a_generation_started_from_starts_another(tiny_model, picture, builtins, tmp_path):
    small = {"frames": 6, "width": 32, "height": 24, "steps": 2, "model": tiny_model, "plugins": builtins}
    drawn = generate(picture, seed=5, **small)
    generator = torch.Generator().manual_seed(5)
    torch.randn((1, 3, 24, 32), generator=generator)  # the image's
    np.save(tmp_path / "noise.npy", torch.randn((1, 6, 4, 3, 4), generator=generator).numpy())
    # 32 x 24 pixels are 4 x 3 latents of SVD, but 8 x 6 of this model, so that the file is refused first.
    with pytest.raises(ConfigError, match="must hold 6 frames"):
        generate(picture, seed=5, noise={"name": "file", "path": str(tmp_path / "noise.npy")}, **small)
    generator = torch.Generator().manual_seed(5)
    torch.randn((1, 3, 24, 32), generator=generator)
    np.save(tmp_path / "noise.npy", torch.randn((1, 6, *drawn.latents.shape[1:]), generator=generator).numpy())
    again = generate(picture, seed=5, noise={"name": "file", "path": str(tmp_path / "noise.npy")}, **small)
    assert torch.equal(again.latents, drawn.latents)


@given(frames=st.integers(2, 300), rise=st.floats(0, 1), low=st.floats(-5, 5), high=st.floats(-5, 5), data=st.data())
def test_a_trapezoid_lies_between_its_scales_and_stays_at_the_upper_one(frames, rise, low, high, data):
    fall = data.draw(st.floats(0, 1 - rise))
    scales = Trapezoid(min=low, max=high, rise=rise, fall=fall).scales(Span(frames=frames, trained=14))
    assert scales.min() >= min(low, high) - 1e-5
    assert scales.max() <= max(low, high) + 1e-5
    place = torch.linspace(0, 1, frames, dtype=torch.float64)
    held = (place >= rise + 1e-9) & (place <= 1 - fall - 1e-9)
    torch.testing.assert_close(scales[held], torch.full((int(held.sum()),), float(high)), atol=1e-5, rtol=1e-5)


def test_a_trapezoid_worked_out_by_hand():
    scales = Trapezoid(min=1, max=3, rise=0.5, fall=0.25).scales(Span(frames=9, trained=14))
    assert scales.tolist() == [1, 1.5, 2, 2.5, 3, 3, 3, 2, 1]


def test_sides_that_do_not_fit_are_refused_with_both_numbers():
    with pytest.raises(ValidationError, match=r"rise=0\.7 with fall=0\.5"):
        Trapezoid(rise=0.7, fall=0.5)


@given(frames=st.integers(1, 100), data=st.data())
def test_keyframes_are_met_and_nothing_lies_beyond_them(frames, data):
    keys = data.draw(st.dictionaries(st.integers(0, frames - 1), st.floats(-9, 9), min_size=1))
    values = interpolate(keys, Span(frames=frames, trained=14), "x")
    assert values.shape == (frames,)
    for frame, value in keys.items():
        assert values[frame].item() == pytest.approx(value, abs=1e-5)
    assert values.min() >= min(keys.values()) - 1e-5
    assert values.max() <= max(keys.values()) + 1e-5
    again = interpolate({frame - frames: value for frame, value in keys.items()}, Span(frames=frames, trained=14), "x")
    assert torch.equal(values, again)


def test_keyframes_worked_out_by_hand():
    # Held at 1 until frame 2, then up by a half a frame until frame 4, held at 2.
    assert interpolate({2: 1.0, 4: 2.0}, Span(frames=6, trained=14), "x").tolist() == [1, 1, 1, 1.5, 2, 2]
    span = Span(frames=5, trained=14)
    assert Keyframes(scale={"0": 1, "-1": 3}).scales(span).tolist() == [1, 1.5, 2, 2.5, 3]
    motion = MotionKeyframes(bucket={0: 10, -1: 50})
    assert motion.buckets(127, span).tolist() == [10, 20, 30, 40, 50]
    assert motion.rates(7, span).tolist() == [7] * 5


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({5: 1.0}, "x names frame 5, but the video has frames 0 to 4"),
        ({-6: 1.0}, "x names frame -6, but the video has frames 0 to 4"),
        ({4: 1.0, -1: 2.0}, "x names frame 4 twice, also as -1"),
    ],
)
def test_keyframes_that_are_not_in_the_video_are_refused(keys, message):
    with pytest.raises(ConfigError, match=message):
        interpolate(keys, Span(frames=5, trained=14), "x")


@pytest.mark.parametrize("guidance", [Linear(min=3, max=-1), Keyframes(scale={0: -2, -1: 0}), Linear(min=2, max=0.5)])
def test_guidance_may_fall_and_be_negative(tiny_model, picture, builtins, guidance):
    small = {"frames": 5, "width": 32, "height": 24, "steps": 2, "model": tiny_model, "plugins": builtins, "seed": 1}
    result = generate(picture, guidance=guidance, **small)
    assert torch.isfinite(result.latents).all()
    assert not torch.equal(result.latents, generate(picture, **small).latents)


def test_keyframes_on_a_command_line_and_in_its_record(cli, folder):
    words = ("--guidance", "keyframes", "--set", "guidance.scale={{0: 1.0, 3: 3.0, -1: 2.0}}", "--frames", "6")
    small = ("--model", "{tiny}", "--width", "32", "--height", "24", "--steps", "2", "--seed", "3")
    cli("generate", "start.png", *small, *words, "-o", "a.npy")
    cli("generate", "--config", "a.npy.json", "-o", "b.npy")
    assert np.array_equal(np.load(folder / "a.npy"), np.load(folder / "b.npy"))
    np.save(folder / "noise.npy", np.zeros((6, 4, 6, 8), dtype=np.float32))
    cli(
        "generate",
        "start.png",
        *small,
        "--frames",
        "6",
        "--noise",
        "file",
        "--set",
        "noise.path=noise.npy",
        "-o",
        "c.npy",
    )
    (folder / "sub").mkdir()
    cli("generate", "--config", "../c.npy.json", "-o", "d.npy", cwd=folder / "sub")  # the record says where the file is
    assert np.array_equal(np.load(folder / "c.npy"), np.load(folder / "sub" / "d.npy"))
    beyond = cli("plan", *small, "--guidance", "keyframes", "--set", "guidance.scale={{9: 1}}", "--frames", "6", code=2)
    assert "guidance.scale names frame 9, but the video has frames 0 to 5" in beyond.stderr
