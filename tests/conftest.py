"""What the tests share: hypothesis' profile, no network, and a tiny SVD with random weights."""

from __future__ import annotations

import copy
import os
import site
import subprocess
import sys
import sysconfig
import types
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ["HF_HUB_OFFLINE"] = "1"
# The models of the tests are so small that a second thread only costs time, here and in subprocesses.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image
from program import Answer, WarmProgram, run_cold

import longtake
from longtake.core.engine.unet import Engine
from longtake.core.image import fit_image
from longtake.core.manager import Plugins, add_plugin
from longtake.core.tiny import svd_scheduler, tiny_pipeline
from longtake.plugins.proving.cases import Case
from longtake.plugins.proving.clips import KINDS
from longtake.plugins.proving.measures import score
from longtake.plugins.proving.results import Row, make_row

if TYPE_CHECKING:
    from diffusers import EulerDiscreteScheduler, StableVideoDiffusionPipeline

settings.register_profile("longtake", deadline=None, max_examples=60)
# For machines that many commits wait for: the same few examples every time. Others are drawn by who runs the tests.
settings.register_profile("quick", deadline=None, max_examples=20, derandomize=True)
settings.load_profile(os.environ.get("LONGTAKE_TESTS", "longtake"))


@pytest.fixture(scope="session")
def make_scheduler() -> Callable[..., EulerDiscreteScheduler]:
    """The function that makes the scheduler of SVD, the oracle of sigmas and steps."""
    return svd_scheduler


@pytest.fixture(scope="session")
def make_pipeline() -> Callable[..., StableVideoDiffusionPipeline]:
    """The function that makes a tiny pipeline, the same one for the same seed."""
    return tiny_pipeline


def latents_of_call(pipe: StableVideoDiffusionPipeline, image: Image.Image, frames: int = 6, **asked: Any):
    """Return the latents that a pipeline makes of an image, with seed 1 in two steps unless something else is asked."""
    usual = {"height": 24, "width": 32, "num_inference_steps": 2, "output_type": "latent"}
    asked = {"generator": torch.Generator().manual_seed(asked.pop("seed", 1))} | usual | asked
    pipe.set_progress_bar_config(disable=True)
    return pipe(image, num_frames=frames, **asked).frames


@pytest.fixture(scope="session")
def stock(make_pipeline: Callable[..., StableVideoDiffusionPipeline]) -> StableVideoDiffusionPipeline:
    """A pipeline that is only copied."""
    return make_pipeline()


@pytest.fixture
def pipe(stock: StableVideoDiffusionPipeline) -> StableVideoDiffusionPipeline:
    """A pipeline that may be changed for good."""
    return copy.deepcopy(stock)


@pytest.fixture(scope="session")
def long(stock: StableVideoDiffusionPipeline, image: Image.Image) -> torch.Tensor:
    """The latents of six frames of that pipeline where nothing else is done."""
    asked = {"frames": 6, "steps": 2, "seed": 1, "height": 24, "width": 32}
    return longtake.generate(image, model=longtake.Model.of(stock), **asked).latents[None]


@pytest.fixture
def out_of_memory_once(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[Any]]:
    """The function that lets the second step run out of memory, with its last branch; it gives how calls are split."""

    def arm() -> list[Any]:
        run, splits, branches = Engine.run, [], []

        def sometimes(self: Engine, sample: Any, tokens: Any, *more: Any, **named: Any) -> Any:
            splits.append(self.split)
            before = len(branches)
            branches.extend(tokens)
            if before < 4 <= len(branches):
                raise torch.OutOfMemoryError("tried to allocate 2 GiB")
            return run(self, sample, tokens, *more, **named)

        monkeypatch.setattr(Engine, "run", sometimes)
        return splits

    return arm


@pytest.fixture(scope="session")
def call_pipe() -> Callable[..., Any]:
    """The function that calls a pipeline of diffusers for a small video."""
    return latents_of_call


@pytest.fixture(scope="session")
def image(picture: Image.Image) -> Image.Image:
    """A picture of 32 x 24 pixels, which needs no fitting, so that pipelines and loop see the same."""
    return fit_image(picture, 32, 24, "crop")


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the tiny pipeline."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tiny_folder: Path) -> longtake.Model:
    """The tiny pipeline, loaded; tests must leave it as it is."""
    return longtake.load_model(str(tiny_folder), device="cpu")


@pytest.fixture
def builtins() -> Plugins:
    """Built-in plugins only, fresh."""
    return longtake.load_plugins(third_party=False)


@pytest.fixture
def plugins_with() -> Iterator[Callable[[str], Plugins]]:
    """The function that loads a plugin from its code, as a third party's module ``longtake_odd``."""

    def load(code: str) -> Plugins:
        module = types.ModuleType("longtake_odd")
        sys.modules["longtake_odd"] = module
        exec(compile("import longtake, torch\n" + code, "longtake_odd.py", "exec"), vars(module))
        plugins = longtake.load_plugins(third_party=False)
        add_plugin(plugins, module, "odd")
        plugins.registry.packages["odd"] = "longtake-odd 1"
        return plugins

    yield load
    sys.modules.pop("longtake_odd", None)


@pytest.fixture(scope="session")
def picture() -> Image.Image:
    """A colourful picture of 48 x 40 pixels."""
    rows, columns = np.mgrid[0:40, 0:48]
    channels = [columns * 5, rows * 6, 128 + 60 * np.sin(rows / 5) * np.cos(columns / 7)]
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def true_row(method: str, frames: int, speed: float, seeds: int = 2) -> Row:
    """Return the row of a method that shows the truth at a share of its speed."""
    cases = [
        (kind, case.number, clip, score(clip, clip.world.render(speed * clip.distances(frames))))
        for seed in range(seeds)
        for kind in KINDS
        for case in [Case(kind, seed, frames)]
        for clip in [case.clip()]
    ]
    return make_row(f"{frames}-{seeds}-{method}", method, frames, 1, cases)


@pytest.fixture(scope="session")
def row_of() -> Callable[..., Row]:
    """The function that makes a row of the table from the truth, at a share of its speed."""
    return true_row


@pytest.fixture(scope="session")
def warm_program() -> Iterator[WarmProgram]:
    """The program, its libraries imported already."""
    program = WarmProgram()
    yield program
    program.close()


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
def cli(folder: Path, tiny_folder: Path, warm_program: WarmProgram) -> Callable[..., Answer]:
    """Run the program in that folder, or in ``cwd``; ``{tiny}`` stands for the tiny model.

    No answer of it may ever be a traceback.
    """

    def run(*words: str, code: int = 0, cwd: Path = folder, before: Callable[[], None] | None = None) -> Answer:
        words = tuple(word.format(tiny=tiny_folder) for word in words)
        done = run_cold(cwd, *words, before=before) if before else warm_program.run(cwd, *words)
        assert "Traceback" not in done.stderr + done.stdout, done.stderr
        assert done.returncode == code, done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def make_environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[Path]], Path]:
    """The function that installs packages into an environment that holds what the running one holds: its python."""

    def make(packages: list[Path]) -> Path:
        base = str(tmp_path_factory.mktemp("env"))
        venv.create(base, with_pip=False, symlinks=os.name != "nt")
        home, there = (Path(sysconfig.get_path(name, "venv", {"base": base})) for name in ("scripts", "purelib"))
        # Through site, since an editable installation works by a .pth file of its own.
        lines = [f"import site; site.addsitedir({path!r})\n" for path in site.getsitepackages()]
        (there / "running.pth").write_text("".join(lines), encoding="utf-8")
        python = home / Path(sys.executable).name
        if not packages:
            return python
        pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
        offline = ["--no-index", "--no-deps", "--no-build-isolation", "--quiet"]
        done = subprocess.run(
            [*pip, "install", *offline, *map(str, packages)], capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return python

    return make
