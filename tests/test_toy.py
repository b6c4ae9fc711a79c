"""The embedded model says that it is a toy where it meets a picture that is not of its worlds, once in a run."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from PIL import Image

from longtake import generate, load_model
from longtake.core.image import example_image
from longtake.core.material import TOY_SIDE, say_once_of_toy
from longtake.plugins.proving.worlds import SIDE, WORLDS

SAID = "this is the embedded model, a toy of 32x32 pixels that knows five drawn worlds (pan, zoom, orbit, comet, two)"
SMALL = ("--steps", "1", "--seed", "1")
WORLD = np.zeros((TOY_SIDE, TOY_SIDE, 3), np.uint8)


def test_the_note_knows_what_the_toy_knows():
    assert TOY_SIDE == SIDE
    assert f"({', '.join(WORLDS)})" in SAID


@pytest.mark.parametrize(
    "words",
    [
        ("generate", "start.png", "--frames", "3", *SMALL, "-o", "out.npy"),
        ("generate", "start.png", "--frames", "16", "--loop", *SMALL, "-o", "out.npy"),
        ("generate", "start.png", "--frames", "16", "--context", "uniform", *SMALL, "-o", "out.npy"),
        ("generate", "example", "--end-image", "start.png", "--frames", "3", *SMALL, "-o", "out.npy"),
        ("extend", "clip.npy", "--frames", "3", *SMALL, "-o", "out.npy"),
        ("plan", "start.png"),
        ("config", "start.png"),
        ("tune", "start.png", "--frames", "4", *SMALL, "--out", "tuned", "--trials", "3"),
    ],
    ids=" ".join,
)
def test_every_command_says_so_once_with_the_way_to_a_real_model(cli, folder, words):
    np.save(folder / "clip.npy", np.zeros((3, 24, 32, 3), np.uint8))
    done = cli(*words)
    assert done.stderr.count(SAID) == 1
    assert "in your picture of " in done.stderr
    assert "Name a real model, such as --model stabilityai/stable-video-diffusion-img2vid-xt" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("generate", "example", "--frames", "3", *SMALL, "-o", "out.npy"),
        ("generate", "copy.png", "--frames", "3", *SMALL, "-o", "out.npy"),
        ("extend", "world.npy", "--frames", "3", *SMALL, "-o", "out.npy"),
        ("generate", "start.png", "--model", "{tiny}", "--frames", "3", "--width", "32", *SMALL, "-o", "out.npy"),
        ("plan",),
    ],
    ids=" ".join,
)
def test_nothing_is_said_of_its_own_pictures_or_of_other_models(cli, folder, words):
    np.save(folder / "world.npy", WORLD[None])
    (folder / "copy.png").write_bytes(example_image().read_bytes())
    assert "toy" not in cli(*words).stderr


def test_python_is_told_too_also_with_a_loaded_model(picture, caplog):
    model, asked = load_model(device="cpu"), {"frames": 2, "steps": 1, "seed": 1}
    for image in (WORLD, Image.open(example_image()), "example"):
        generate(image, model=model, **asked)
    assert not caplog.records
    say_once_of_toy.cache_clear()  # as in a new process
    for _ in range(2):
        generate(picture, model=model, **asked)
    told = [record for record in caplog.records if SAID in record.getMessage()]
    assert len(told) == 1
    assert (told[0].name, told[0].levelno) == ("longtake", logging.WARNING)
    assert "your picture of 48x40" in told[0].getMessage()
