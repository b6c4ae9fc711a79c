"""What the command line cannot do: a sentence on standard error, exit code 2, and nothing left behind or lost."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from program import PROGRAM

from longtake import generate, load_model
from longtake.core.errors import ModelError

# Image, output, model (below {models} or {tiny}), further words, and what is said.
BAD: dict[str, tuple[str, str, str, tuple[str, ...], tuple[str, ...]]] = {
    "missing image": ("none.png", "out.mp4", "{tiny}", (), ("image none.png does not exist",)),
    "noise for an image": ("noise.jpg", "out.mp4", "{tiny}", (), ("image noise.jpg is not in a format",)),
    "truncated image": ("cut.png", "out.mp4", "{tiny}", (), ("image cut.png cannot be read: ", "truncated")),
    "no frames": ("start.png", "out.mp4", "{tiny}", ("--frames", "0"), ("frames should be", "1, got 0")),
    "negative frames": ("start.png", "out.mp4", "{tiny}", ("--frames", "-3"), ("frames should be", "1, got -3")),
    "frames in words": ("start.png", "out.mp4", "{tiny}", ("--frames", "many"), ("'many' is not a valid integer",)),
    "unknown strategy": (
        "start.png", "out.mp4", "{tiny}", ("--positional", "liner"),
        ("unknown positional strategy 'liner'; known: circular, clamp,", "\ndid you mean 'linear'?"),
    ),
    "unknown option of a strategy": (
        "start.png", "out.mp4", "{tiny}", ("--positional", "linear", "--set", "positional.factr=2"),
        ("'linear': 'positional.factr'; known: align, factor", "\ndid you mean 'factor'?"),
    ),
    "option out of range": (
        "start.png", "out.mp4", "{tiny}", ("--positional", "linear", "--set", "positional.factor=0.5"),
        ("positional.factor should be greater than or equal to 1, got 0.5",),
    ),
    "setting without a strategy": (
        "start.png", "out.mp4", "{tiny}", ("--set", "positional.factor=2"), ("name the strategy first, such as",),
    ),
    "typo in a config file": (
        "start.png", "out.mp4", "{tiny}", ("-c", "typo.yaml"),
        ("unknown config key 'frmaes'; known: attention, ", "\ndid you mean 'frames'?"),
    ),
    "config file that is no YAML": (
        "start.png", "out.mp4", "{tiny}", ("-c", "broken.yaml"), ("config file broken.yaml is not valid YAML: ",),
    ),
    "config file of a wrong kind": (
        "start.png", "out.mp4", "{tiny}", ("-c", "list.json"), ("list.json must hold keys and values, got list",),
    ),
    "missing config file": (
        "start.png", "out.mp4", "{tiny}", ("-c", "none.yaml"), ("cannot read config file none.yaml: No such file",),
    ),
    "another kind of model": (
        "start.png", "out.mp4", "{models}/other", (),
        ("is a StableDiffusionPipeline, not Stable Video Diffusion (StableVideoDiffusionPipeline)",),
    ),
    "empty model folder": (
        "start.png", "out.mp4", "{models}/empty", (), ("no SVD in diffusers' layout: it has no model_index.json",),
    ),
    "missing model folder": (
        "start.png", "out.mp4", "{models}/none", (), ("none' does not exist; give a diffusers folder, a single",),
    ),
    "missing weights": (
        "start.png", "out.mp4", "{models}/lost", (), ("cannot be loaded:", "no file named diffusion_pytorch_model"),
    ),
    "truncated weights": ("start.png", "out.mp4", "{models}/cut", (), ("models", "cut' cannot be loaded:", "vae")),
    "noise for weights": ("start.png", "out.mp4", "{models}/noise", (), ("noise' cannot be loaded:", "header")),
    "unknown ending": (
        "start.png", "out.avi", "{tiny}", (), ("out.avi has an ending that is not known; known: .mp4, .webm",),
    ),
    "no output": ("start.png", "", "{tiny}", (), ("say where the video goes, such as: -o out.mp4",)),
    "missing output folder": (
        "start.png", "nowhere/out.mp4", "{tiny}", (), ("folder nowhere does not exist; make it first",),
    ),
    "output below a file": ("start.png", "old.mp4/out.mp4", "{tiny}", (), ("old.mp4 is a file, not a folder",)),
    "existing output": ("start.png", "old.mp4", "{tiny}", (), ("old.mp4 exists; say --overwrite",)),
    "size too small": (
        "start.png", "out.mp4", "{tiny}", ("--width", "4", "--height", "4"),
        ("size 4x4 is too small for model", "it needs at least 8x8 and was trained at 32x32"),
    ),
    "device that is not there": (
        "start.png", "out.mp4", "{tiny}", ("--device", "cuda:99"), ("device 'cuda:99' is not available here; try cpu",),
    ),
    "preview that is no picture": (
        "start.png", "out.mp4", "{tiny}", ("--preview", "p.docx"), ("preview p.docx needs a picture's ending",),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    """A folder of folders none of which is a whole SVD."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "empty").mkdir()
    for name in ("other", "lost", "cut", "noise"):
        shutil.copytree(tiny_folder, folder / name)
    index = folder / "other" / "model_index.json"
    index.write_text(index.read_text().replace("StableVideoDiffusionPipeline", "StableDiffusionPipeline"))
    weights = "diffusion_pytorch_model.safetensors"
    (folder / "lost" / "unet" / weights).unlink()
    os.truncate(folder / "cut" / "vae" / weights, 100_000)
    (folder / "noise" / "image_encoder" / "model.safetensors").write_bytes(np.random.default_rng(0).bytes(4000))
    return folder


def contents(folder: Path) -> dict[str, bytes | None]:
    """Return every file below a folder with what it holds."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_work_is_said_in_a_sentence_and_leaves_nothing(cli, folder, models, case):
    image, output, model, further, said = BAD[case]
    before = contents(folder)
    where = model.replace("{models}", str(models))
    done = cli("generate", image, *(("-o", output) if output else ()), "--model", where, *further, "-q", code=2)
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    for part in said:
        assert part in done.stderr
    assert contents(folder) == before


def test_a_plan_that_cannot_be_drawn_or_shown_is_refused(cli, folder):
    before = contents(folder)
    assert "plan.xyz must end in one of" in cli("plan", "--model", "{tiny}", "-o", "plan.xyz", code=2).stderr
    beyond = cli("plan", "--model", "{tiny}", "--steps", "3", "--step", "4", code=2)
    assert beyond.stderr == "error: --step 4 is beyond the last of 3 steps\n"
    assert contents(folder) == before


def test_an_unknown_command_or_option_says_where_help_is(cli):
    assert "No such command 'movie'" in cli("movie", code=2).stderr
    done = cli("generate", "start.png", "--frmaes", "6", code=2)
    assert "No such option" in done.stderr
    assert "--frames" in done.stderr
    assert "see: longtake generate --help" in done.stderr


def test_a_disk_that_is_full_is_a_sentence_and_leaves_nothing_but_the_latents(cli, folder):
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))

    before = contents(folder)
    size = ("--steps", "1", "--width", "64", "--height", "64")
    done = cli("generate", "start.png", "-o", "out.npy", "--model", "{tiny}", *size, "-q", code=2, before=limit)
    assert done.stderr == (
        "error: cannot write out.npy: File too large\nthe latents are kept in out.npy.latents.safetensors; to make the"
        " video from them: longtake decode out.npy.latents.safetensors -o out.npy\n"
    )
    assert done.stdout == ""
    (folder / "out.npy.latents.safetensors").unlink()
    assert contents(folder) == before


def test_numbers_that_are_no_longer_finite_stop_the_run_at_their_step(tiny_folder, picture, builtins, tmp_path):
    model = load_model(str(tiny_folder), device="cpu")
    torch.nn.init.constant_(model.pipeline.unet.conv_out.bias, float("nan"))
    said = r"stopped being finite at step 1 of 2 \(sigma 700\), in 4 frames, the first of them 0; try --dtype float32"
    with pytest.raises(ModelError, match=said):
        generate(picture, model=model, plugins=builtins, output=tmp_path / "out.mp4", steps=2, width=32, height=32)
    assert list(tmp_path.iterdir()) == []


def stopped_after_preview(words: list[str], folder: Path, preview: Path) -> tuple[int, str, str]:
    """Start the program, press Ctrl-C as soon as the preview is there, and return exit code, stdout and stderr."""
    process = subprocess.Popen(
        words,
        cwd=folder,
        env=os.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs tests in the background may have told its children to ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    try:
        patience = time.monotonic() + 100
        while not preview.exists() and process.poll() is None and time.monotonic() < patience:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, stdout, stderr


def test_ctrl_c_in_the_middle_is_a_sentence_and_leaves_only_the_preview(folder, tiny_folder):
    before = contents(folder)
    asked = ["--model", str(tiny_folder), "--steps", "1000", "--width", "32", "--height", "32", "--preview", "p.png"]
    words = [str(PROGRAM), "generate", "start.png", "-o", "out.mp4", *asked]
    code, stdout, stderr = stopped_after_preview(words, folder, folder / "p.png")
    assert code == 130
    assert stdout == ""
    assert stderr.rstrip().endswith("stopped by Ctrl-C; nothing half-written is left behind")
    assert "Traceback" not in stderr
    assert (folder / "p.png").exists()
    (folder / "p.png").unlink()
    assert contents(folder) == before


def test_an_error_has_no_empty_line_before_it(cli, folder):
    assert cli("generate", "nope.png", "-o", "a.mp4", code=2).stderr.startswith("error: image nope.png does not exist")


def test_what_another_machine_would_do_may_be_looked_at(cli, folder):
    asked = ("example", "--frames", "4", "--device", "cuda:7")
    assert "device: cuda:7\n" in cli("config", *asked).stdout
    assert "cuda:7" in cli("plan", *asked, "--json").stdout
    assert "device 'cuda:7' is not available here" in cli("generate", *asked, "-o", "a.mp4", code=2).stderr
