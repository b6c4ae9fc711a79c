"""A video that could not be written: its latents are kept, and give the same frames later."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from longtake import generate
from longtake.core.errors import LongtakeError, OutputError
from longtake.core.files.encoders import NpyFile
from longtake.core.kept import decode_kept

SMALL = {"frames": 9, "steps": 2, "seed": 3, "width": 32, "height": 24}


@pytest.fixture
def full(monkeypatch):
    """The function after which a disk is full at the third frame, and that which frees it again."""
    whole = NpyFile.write

    def write(self: NpyFile, frame: np.ndarray) -> None:
        if self.file.tell() > 2 * frame.size:
            raise OSError(28, os.strerror(28))
        whole(self, frame)

    monkeypatch.setattr(NpyFile, "write", write)
    return lambda: monkeypatch.setattr(NpyFile, "write", whole)


@pytest.mark.parametrize("more", [{}, {"decode_chunk": 4, "enlarge": 2}, {"continues": "old.npy", "sampling": "chain"}])
def test_kept_latents_give_the_frames_of_a_run_that_nothing_disturbed(
    tmp_path, monkeypatch, full, tiny_folder, image, builtins, more
):
    monkeypatch.chdir(tmp_path)
    np.save("old.npy", np.random.default_rng(0).integers(0, 256, (5, 24, 32, 3), dtype=np.uint8))
    asked = SMALL | more | {"model": str(tiny_folder), "plugins": builtins}
    said = r"cannot write out.npy: No space left on device\nthe latents are kept in out.npy.latents.safetensors; to"
    with pytest.raises(OutputError, match=said):
        generate(image, output="out.npy", **asked)
    assert sorted(os.listdir()) == ["old.npy", "out.npy.latents.safetensors"]
    full()
    undisturbed = generate(image, output="plain.npy", **asked)
    again = decode_kept("out.npy.latents.safetensors", output="again.npy", plugins=builtins)
    assert torch.equal(again.latents, undisturbed.latents)
    assert np.array_equal(np.load("again.npy"), np.load("plain.npy"))
    assert np.array_equal(again.frames, undisturbed.frames)
    assert again.length == undisturbed.length
    records = [json.loads(Path(name).read_text()) for name in ("again.npy.json", "plain.npy.json")]
    assert records[0]["config"] == records[1]["config"]
    assert set(records[0]) == set(records[1])


def test_the_command_that_is_said_makes_the_video(cli, folder):
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))

    asked = ["--model", "{tiny}", "--steps", "1", "--width", "64", "--height", "64", "--seed", "1", "-q"]
    failed = cli("generate", "start.png", "-o", "out.npy", *asked, code=2, before=limit)
    words = failed.stderr.strip().split("to make the video from them: longtake ")[1].split()
    assert cli(*words).stdout == "out.npy\n"
    cli("generate", "start.png", "-o", "plain.npy", *asked)
    assert np.array_equal(np.load(folder / "out.npy"), np.load(folder / "plain.npy"))
    assert "out.npy exists; say --overwrite" in cli(*words, code=2).stderr


def test_an_error_of_another_kind_stays_what_it_is_and_the_latents_are_kept(
    tmp_path, monkeypatch, caplog, tiny_model, image, builtins
):
    def no_memory(*args: object) -> None:
        raise MemoryError("none left")

    monkeypatch.setattr("longtake.core.generate.write_video", lambda *args, **named: no_memory())
    with pytest.raises(MemoryError, match="none left"):
        generate(image, model=tiny_model, plugins=builtins, output=tmp_path / "out.mp4", **SMALL)
    assert "the latents are kept in" in caplog.text
    assert os.listdir(tmp_path) == ["out.mp4.latents.safetensors"]


def test_latents_that_are_kept_already_stay_and_without_room_beside_the_output_they_go_elsewhere(
    tmp_path, monkeypatch, full, tiny_model, image, builtins
):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "out.npy.latents.safetensors").write_text("earlier")
    for _ in range(2):
        with pytest.raises(OutputError, match=r"latents-?\d*.safetensors"):
            generate(image, model=tiny_model, plugins=builtins, output=tmp_path / "out.npy", **SMALL)
    assert (tmp_path / "out.npy.latents.safetensors").read_text() == "earlier"
    assert {"out.npy-2.latents.safetensors", "out.npy-3.latents.safetensors"} <= set(os.listdir(tmp_path))
    whole = save_file

    def no_room(tensors: object, path: Path, metadata: object) -> None:
        if path.parent == tmp_path:
            raise OSError(28, os.strerror(28))
        whole(tensors, path, metadata)

    monkeypatch.setattr("safetensors.torch.save_file", no_room)
    with pytest.raises(OutputError, match="kept in .*temporary"):
        generate(image, model=tiny_model, plugins=builtins, output=tmp_path / "out.npy", **SMALL)
    assert len(os.listdir(tmp_path / "temporary")) == 1


@pytest.fixture
def kept(tmp_path, image, tiny_model, builtins):
    """Latents and the record of a run, and a function that writes other ones in their place."""
    (tmp_path / "out").mkdir()
    config = generate(image, model=tiny_model, plugins=builtins, output=tmp_path / "out" / "a.npy", **SMALL).config
    record = json.loads((tmp_path / "out" / "a.npy.json").read_text()) | {"shared": 0}
    latents_FCYX = torch.zeros(config.frames, 4, config.height // 4, config.width // 4)

    def write(changed: dict[str, object], latents: object = None) -> Path:
        path, told = tmp_path / "x.safetensors", changed.pop("text", json.dumps(record | changed))
        save_file({"latents": latents_FCYX if latents is None else latents(latents_FCYX)}, path, {"longtake": told})
        return path

    write.config = record["config"]
    return write


@pytest.mark.parametrize(
    ("changed", "latents", "said"),
    [
        ({"text": "[" * 100_000}, None, "nested more than 40 levels deep"),
        ({"text": "[]"}, None, "its record has no config"),
        ({"text": "?"}, None, "Expecting value"),
        ({"config": {}}, None, "the config in its record has no frames"),
        ({"config": {"frames": 9, "width": 32}}, None, "the config in its record has no height"),
        ({"seconds": None}, None, "its record has no seconds, or one that means nothing"),
        ({"seconds": {"load": "long"}}, None, "the seconds in its record are not numbers"),
        ({"shared": -1}, None, "its record says that -1 frames belong to an earlier video, and 9 are there"),
        ({"shared": 9}, None, "its record says that 9 frames belong"),
        ({"shared": True}, None, "its record has no shared"),
        ({}, lambda kept: kept / 0, "some of its numbers are not finite"),
        ({}, lambda kept: kept.long(), r"must be \(F, C, Y, X\) in float32, got \(9, 4, 6, 8\) in int64"),
        ({}, lambda kept: kept[0], r"got \(4, 6, 8\) in float32"),
        ({}, lambda kept: kept[:0], r"got \(0, 4, 6, 8\) in float32"),
    ],
)
def test_what_no_run_kept_is_refused_in_a_sentence(tmp_path, kept, builtins, changed, latents, said):
    with pytest.raises(LongtakeError, match=f"x.safetensors holds no latents that longtake kept: .*{said}"):
        decode_kept(kept(changed, latents), output=tmp_path / "out.npy", plugins=builtins)
    assert not (tmp_path / "out.npy").exists()


@pytest.mark.parametrize(
    ("changed", "latents", "said"),
    [
        ({}, lambda kept: kept[:, :3].contiguous(), r"latents of \(9, 3, 6, 8\); .* need \(9, 4, 6, 8\)"),
        ({}, lambda kept: kept[:5].contiguous(), r"latents of \(5, 4, 6, 8\); .* need \(9, 4, 6, 8\)"),
        ({"device": "toaster"}, None, "toaster"),
    ],
)
def test_what_does_not_fit_its_config_is_refused_before_a_model_is_loaded(
    tmp_path, monkeypatch, kept, tiny_folder, builtins, changed, latents, said
):
    path = kept({"config": kept.config | {"model": str(tiny_folder)} | changed}, latents)
    monkeypatch.setattr("longtake.core.kept.load_for", lambda *_: pytest.fail("the model is loaded"))
    with pytest.raises(LongtakeError, match=said):
        decode_kept(path, output=tmp_path / "out.npy", plugins=builtins)


@pytest.mark.parametrize("what", ["missing", "pipe", "text", "others"])
def test_what_holds_no_kept_latents_is_a_sentence(tmp_path, builtins, what):
    path = tmp_path / "x.safetensors"
    said = "holds no latents that longtake kept: it has no latents, or no record"
    if what == "missing":
        said = "file of latents .*x.safetensors does not exist"
    elif what == "pipe":
        os.mkfifo(path)
        said = "file of latents .*x.safetensors cannot be read: it is a pipe"
    elif what == "text":
        path.write_text("no tensors")
    else:
        save_file({"latents": torch.zeros(1, 4, 3, 3)}, path)
    with pytest.raises(LongtakeError, match=said):
        decode_kept(path, output=tmp_path / "out.npy", plugins=builtins)
    assert not (tmp_path / "out.npy").exists()
