"""What the Python interface is given by mistake is answered in a sentence, and what is meant well simply works."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from longtake import Model, apply, generate, installed, load_config, load_model, read_facts
from longtake.core.errors import ConfigError, ImageError, LongtakeError, first_line, headline
from longtake.positional.linear import Linear

SMALL = {"frames": 2, "steps": 1, "seed": 1, "height": 24, "width": 32}


def test_a_path_is_as_good_as_a_name(tiny_folder, image, tmp_path):
    assert isinstance(tiny_folder, Path)
    made = generate(image, model=tiny_folder, output=tmp_path / "frames", **SMALL)
    assert made.config.model == str(tiny_folder)
    assert torch.equal(made.latents, generate(image, model=str(tiny_folder), **SMALL).latents)
    assert read_facts(tiny_folder) == read_facts(str(tiny_folder))
    assert load_model(tiny_folder, device="cpu").facts.name == str(tiny_folder)


def test_every_file_of_a_config_may_be_a_path(tiny_model, image, tmp_path, builtins):
    image.save(tmp_path / "end.png")
    files = {"end_image": tmp_path / "end.png", "preview": tmp_path / "seen.png"}
    made = generate(image, model=tiny_model, **files, **SMALL)
    assert {name: getattr(made.config, name) for name in files} == {name: str(path) for name, path in files.items()}
    assert (tmp_path / "seen.png").exists()
    names = ("image", "end_image", "continues", "preview", "model")
    config = load_config({name: Path("a", name) for name in names}, builtins.registry)
    assert [getattr(config, name) for name in names] == [os.path.join("a", name) for name in names]
    for name in names:
        with pytest.raises(ConfigError, match=f"{name}: should be a path or its name, got b'x'"):
            load_config({name: b"x"}, builtins.registry)


@pytest.mark.parametrize(
    ("given", "kind"), [(torch.zeros(3, 24, 32), "Tensor"), (b"\x89PNG", "bytes"), (3, "int"), ([], "list")]
)
def test_what_is_no_image_is_refused_by_its_kind(tiny_model, given, kind):
    said = rf"an image must be a file's name, a PIL image or an array \(H, W, 3\) in uint8, got {kind}$"
    with pytest.raises(ImageError, match=said):
        generate(given, model=tiny_model, **SMALL)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model": 3}, "model should be a name, a path, or what longtake.load_model or Model.of gives, got int"),
        ({"model": torch.nn.Linear(1, 1)}, "model should be .* got Linear"),
        ({"output": 3}, "output should be a path, got int"),
        ({"output": b"out.mp4"}, "output should be a path, got bytes"),
        ({"plugins": "all"}, "plugins should be what longtake.load_plugins gives, got str"),
        ({"plugins": []}, "plugins should be what longtake.load_plugins gives, got list"),
    ],
)
def test_what_is_of_another_kind_is_refused(image, given, said):
    with pytest.raises(ConfigError, match=said):
        generate(image, **{"model": "embedded"} | given, **SMALL)


def test_a_pipeline_is_no_model_but_has_one(pipe, image):
    with pytest.raises(ConfigError, match="or Model.of gives, got StableVideoDiffusionPipeline"):
        generate(image, model=pipe, **SMALL)
    with pytest.raises(ConfigError, match="plugins should be what longtake.load_plugins gives, got list"):
        apply(pipe, plugins=[])
    assert Model.of(pipe).pipeline is pipe


def test_models_are_named_and_precisions_known():
    for wrong in (load_model, read_facts):
        with pytest.raises(ConfigError, match="name should be the name of a model, or a path, got int"):
            wrong(3)
    for dtype in ("floaty", "int8", torch.int8):
        with pytest.raises(LongtakeError, match="dtype .* is not known; known: float32, float16, bfloat16"):
            load_model(device="cpu", dtype=dtype)


@pytest.mark.parametrize(("kind", "given"), [("positional", "yarn"), ("attention", Linear())])
def test_strategies_are_installed_as_objects_of_their_kind(pipe, kind, given):
    with (
        pytest.raises(ConfigError, match=f"{kind} should be an? .*Strategy, as an object, got {type(given).__name__}"),
        installed(pipe.unet, **{kind: given}),
    ):
        pass
    assert "forward" not in vars(pipe.unet)


@pytest.mark.parametrize("error", [MemoryError(), MemoryError(""), RuntimeError("\n"), OSError(" \n ")])
def test_an_error_without_a_text_has_its_name(error):
    assert headline(error) == first_line(error) == type(error).__name__


def test_running_out_of_memory_without_a_text_is_said(monkeypatch):
    from longtake.core.cli import commands

    def out_of_memory(**_):
        raise MemoryError

    for of_the_process in ("silence_libraries", "show_notes"):
        monkeypatch.setattr(commands, of_the_process, lambda: None)

    monkeypatch.setattr(commands, "load_plugins", out_of_memory)
    said = []
    monkeypatch.setattr(commands, "_fail", said.append)
    with pytest.raises(SystemExit):
        commands.main([])
    assert said == [
        "the device is out of memory (MemoryError); try fewer frames, a smaller size, a smaller --decode-chunk, or "
        "--dtype float16"
    ]
