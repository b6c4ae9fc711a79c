"""The command line as people run it: as a process, with what it prints, where, its exit code, and what it leaves."""

from __future__ import annotations

import json
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from longtake import Config, generate, load_model
from longtake.core.errors import ModelError

PROGRAM = Path(sys.executable).with_name("longtake")
SMALL = ("--steps", "2", "--width", "32", "--height", "32", "--seed", "3")
Answer = subprocess.CompletedProcess[str]
Cli = Callable[..., Answer]


def environment() -> dict[str, str]:
    return os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def longtake(folder: Path, *words: str, before: Callable[[], None] | None = None) -> Answer:
    """Run the program in a folder; no answer of it may ever be a traceback."""
    done = subprocess.run(
        [PROGRAM, *words],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        preexec_fn=before,
    )
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    return done


@pytest.fixture
def folder(tmp_path: Path, picture: Image.Image) -> Path:
    """A folder with a good image, bad ones, and config files that cannot be used."""
    picture.save(tmp_path / "start.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "start.png").read_bytes()[:300])
    (tmp_path / "noise.jpg").write_bytes(np.random.default_rng(0).bytes(2000))
    (tmp_path / "typo.yaml").write_text("frmaes: 6\n")
    (tmp_path / "broken.yaml").write_text("frames: [6\nsteps: {\n")
    (tmp_path / "list.json").write_text("[1, 2]")
    (tmp_path / "old.mp4").write_text("precious")
    return tmp_path


@pytest.fixture
def cli(folder: Path, tiny_folder: Path) -> Cli:
    """Runs the program in that folder; ``{tiny}`` stands for the tiny model."""

    def run(*words: str, code: int = 0, **options: Any) -> Answer:
        done = longtake(folder, *(word.format(tiny=tiny_folder) for word in words), **options)
        assert done.returncode == code, done.stderr
        return done

    return run


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


# --- what works


def test_generate_prints_where_the_video_lies_and_says_the_rest_on_stderr(cli, folder):
    done = cli("generate", "start.png", "-o", "out.mp4", "--model", "{tiny}", *SMALL, "--frames", "6")
    assert done.stdout == "out.mp4\n"
    for said in ("6 frames (1.5 x the 4 that", "32x32, 2 steps, seed 3", "how to make it again: out.mp4.json"):
        assert said in done.stderr
    assert (folder / "out.mp4").read_bytes()[4:8] == b"ftyp"
    assert {path.name for path in folder.iterdir() if "out" in path.name} == {"out.mp4", "out.mp4.json"}


@pytest.mark.parametrize("ending", ["gif", "webm", "webp"])
def test_generate_writes_the_format_that_the_ending_says(cli, folder, ending):
    output = f"out.{ending}"
    done = cli("generate", "start.png", "-o", output, "--model", "{tiny}", *SMALL, "-q")
    assert (done.stdout, done.stderr) == (f"{output}\n", "")
    magic = {"gif": b"GIF89a", "webm": b"\x1a\x45\xdf\xa3", "webp": b"RIFF"}[ending]
    assert (folder / output).read_bytes().startswith(magic)


def test_the_command_in_the_record_makes_the_same_frames_in_another_folder(cli, folder, tmp_path_factory):
    asked = ("--model", "{tiny}", *SMALL, "--frames", "9", "--positional", "yarn", "--set", "positional.beta_fast=2")
    cli("generate", "start.png", "-o", "out.npy", *asked, "--attention", "freenoise", "--noise", "freenoise", "-q")
    first = np.load(folder / "out.npy")
    record = json.loads((folder / "out.npy.json").read_text())
    (folder / "out.npy").unlink()
    program, *words = shlex.split(record["command"])
    assert program == "longtake"
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    assert longtake(elsewhere, *words).returncode == 0
    assert list(elsewhere.iterdir()) == []
    again = np.load(folder / "out.npy")
    assert again.shape == (9, 32, 32, 3)
    assert np.array_equal(again, first)


def test_a_record_is_a_config_file_and_frames_can_be_a_folder(cli, folder):
    cli("generate", "start.png", "-o", "out.npy", "--model", "{tiny}", *SMALL, "-q")
    cli("generate", "-c", "out.npy.json", "-o", "frames", "-q")
    pngs = [np.asarray(Image.open(file)) for file in sorted((folder / "frames").iterdir())]
    assert np.array_equal(np.stack(pngs), np.load(folder / "out.npy"))
    refused = cli("generate", "-c", "out.npy.json", "-o", "frames", code=2)
    assert "frames exists; say --overwrite" in refused.stderr


def test_a_printed_config_is_a_config_file_that_means_the_same(cli, folder):
    asked = ("--model", "{tiny}", *SMALL, "--frames", "12", "--positional", "dynamic", "--attention", "freenoise")
    printed = cli("config", "start.png", *asked).stdout
    (folder / "all.yaml").write_text(printed)
    as_json = json.loads(cli("config", "start.png", *asked, "--json").stdout)
    assert yaml.safe_load(printed) == as_json
    assert as_json["seed"] == 3
    assert set(as_json) == set(Config.model_fields)
    chosen = {key for key, value in as_json.items() if value is not None}
    assert set(as_json) - chosen == {"variant", "preview"}
    assert json.loads(cli("config", "-c", "all.yaml", "--json").stdout) == as_json


@pytest.mark.parametrize("ending", ["yaml", "toml", "json"])
def test_the_command_line_wins_over_a_config_file(cli, folder, ending):
    texts = {
        "yaml": "frames: 6\nsteps: 5\npositional: {name: yarn, beta_fast: 3}\n",
        "toml": 'frames = 6\nsteps = 5\n[positional]\nname = "yarn"\nbeta_fast = 3\n',
        "json": '{"frames": 6, "steps": 5, "positional": {"name": "yarn", "beta_fast": 3}}',
    }
    (folder / f"asked.{ending}").write_text(texts[ending])
    words = ("--frames", "8", "--set", "positional.sharpening=0.2", "--model", "{tiny}", "--json")
    config = json.loads(cli("config", "-c", f"asked.{ending}", *words).stdout)
    assert (config["frames"], config["steps"]) == (8, 5)
    assert (config["positional"]["beta_fast"], config["positional"]["sharpening"]) == (3, 0.2)


def test_set_reaches_the_option_of_a_strategy(cli):
    words = ("config", "--model", "{tiny}", "--frames", "8", "--positional", "yarn", "--set", "positional.beta_fast=2")
    config = json.loads(cli(*words, "--json").stdout)
    assert config["positional"]["beta_fast"] == 2


def test_strategies_lists_kind_name_plugin_and_options(cli):
    rows = json.loads(cli("strategies", "--json", "--no-plugins").stdout)
    assert {"kind", "name", "plugin", "options"} <= set.intersection(*(set(row) for row in rows))
    assert {row["plugin"] for row in rows} == {"builtin"}
    assert len({(row["kind"], row["name"]) for row in rows}) == len(rows)
    yarn = next(row for row in rows if row["name"] == "yarn")
    assert [option["name"] for option in yarn["options"]][-2:] == ["start", "stop"]
    table = cli("strategies", "--kind", "positional").stdout
    positional = [row["name"] for row in rows if row["kind"] == "positional"]
    assert all(name in table for name in positional)
    assert "freenoise" not in table


def test_plugins_lists_built_in_ones_with_their_hooks(cli):
    rows = {row["name"]: row for row in json.loads(cli("plugins", "--json", "--no-plugins").stdout)}
    assert rows["builtin"]["hooks"] == ["longtake_register_strategies"]
    assert "positional.linear" in rows["builtin"]["strategies"]
    assert all(row["error"] is None and row["version"] == "built in" for row in rows.values())


def references(schema: Any) -> Iterable[str]:
    """Yield every ``$ref`` in a schema."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield schema["$ref"]
        for value in schema.values():
            yield from references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from references(value)


def test_the_schema_is_whole_and_knows_every_key_and_strategy(cli):
    schema = json.loads(cli("schema", "--no-plugins").stdout)
    assert schema == json.loads(cli("schema", "--json", "--no-plugins").stdout)
    assert set(schema["properties"]) == set(Config.model_fields)
    assert schema["additionalProperties"] is False
    assert {reference.removeprefix("#/$defs/") for reference in references(schema)} == set(schema["$defs"])
    names = next(each["enum"] for each in schema["properties"]["positional"]["anyOf"] if "enum" in each)
    assert {"none", "linear", "ntk", "yarn", "dynamic"} <= set(names)
    linear = schema["$defs"]["positional.linear"]
    assert linear["required"] == ["name"]
    assert linear["properties"]["align"]["enum"] == ["step", "ends"]


def test_a_plan_is_shown_drawn_and_given_as_data(cli, folder):
    asked = ("plan", "--model", "{tiny}", "--frames", "12", "--attention", "freenoise", "--steps", "3", "--seed", "0")
    table = cli(*asked).stdout
    assert "12 frames, 3 x the 4 trained ones; 3 steps; shown as of step 1" in table
    both = cli(*asked, "-o", "plan.png", "--json", "--step", "2")
    data = json.loads(both.stdout)
    assert len(data["positions"]) == 12
    assert len(data["sigmas"]) == 4
    assert data["shown_step"] == 2
    assert data["windows"]["starts"][-1] + data["windows"]["size"] == 12
    with Image.open(folder / "plan.png") as drawn:
        assert drawn.width > 500
        assert len(np.unique(drawn.convert("L"))) > 10
    assert cli(*asked, "-o", "plan.png").stdout == "plan.png\n"


def test_what_longtake_has_to_say_never_gets_into_json(cli):
    done = cli("config", "--model", "{tiny}", "--width", "33", "--height", "32", "--json")
    assert json.loads(done.stdout)["width"] == 32
    assert done.stderr == "note: size 33x32 rounded to 32x32: the model needs multiples of 4\n"


def test_help_and_version_are_not_mistakes(cli):
    pyproject = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    assert pyproject["project"]["version"] in cli("--version").stdout
    help_text = cli("generate", "--help").stdout
    assert all("--" + name.replace("_", "-") in help_text for name in Config.model_fields if name != "image")


# --- what does not work: image, output, model (below {models} or {tiny}), further words, and what is said

BAD: dict[str, tuple[str, str, str, tuple[str, ...], tuple[str, ...]]] = {
    "missing image": ("none.png", "out.mp4", "{tiny}", (), ("image none.png does not exist",)),
    "noise for an image": ("noise.jpg", "out.mp4", "{tiny}", (), ("image noise.jpg is not in a format",)),
    "truncated image": ("cut.png", "out.mp4", "{tiny}", (), ("image cut.png cannot be read: ", "truncated")),
    "no frames": ("start.png", "out.mp4", "{tiny}", ("--frames", "0"), ("frames should be", "2, got 0")),
    "one frame": ("start.png", "out.mp4", "{tiny}", ("--frames", "1"), ("frames should be", "2, got 1")),
    "negative frames": ("start.png", "out.mp4", "{tiny}", ("--frames", "-3"), ("frames should be", "2, got -3")),
    "frames in words": ("start.png", "out.mp4", "{tiny}", ("--frames", "many"), ("'many' is not a valid integer",)),
    "unknown strategy": (
        "start.png", "out.mp4", "{tiny}", ("--positional", "liner"),
        ("unknown positional strategy 'liner'; known: dynamic, linear,", "\ndid you mean 'linear'?"),
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
        "start.png", "out.mp4", "{models}/none", (), ("none' does not exist; give a diffusers folder, a name on",),
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
        "start.png", "out.mp4", "{tiny}", ("--preview", "p.docx"), ("preview p.docx must end in that of a picture",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_work_is_said_in_a_sentence_and_leaves_nothing(folder, models, tiny_folder, case):
    image, output, model, further, said = BAD[case]
    where = model.format(models=models, tiny=tiny_folder)
    before = contents(folder)
    done = longtake(folder, "generate", image, *(("-o", output) if output else ()), "--model", where, *further, "-q")
    assert done.returncode == 2
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


def test_a_disk_that_is_full_is_a_sentence_and_leaves_nothing(cli, folder):
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))

    before = contents(folder)
    size = ("--steps", "1", "--width", "64", "--height", "64")
    done = cli("generate", "start.png", "-o", "out.npy", "--model", "{tiny}", *size, "-q", code=2, before=limit)
    assert done.stderr == "error: cannot write out.npy: File too large\n"
    assert done.stdout == ""
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
        env=environment(),
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
