"""Nothing that is written takes the place of anything that is read, and what cannot be written is known beforehand."""

from __future__ import annotations

import copy
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import Field

import longtake
from longtake import generate, hookimpl, open_video
from longtake.core.config import Config, load_config
from longtake.core.contracts import NoiseSchedule
from longtake.core.errors import OutputError
from longtake.core.files.limits import LIMITS, check_limits, check_preview
from longtake.core.files.picture import check_picture
from longtake.core.files.sidecar import with_absolute_paths
from longtake.core.files.sources import Named, check_apart, sources_of, strategy_files
from longtake.core.files.video import check_output
from longtake.core.files.whole import check_file, whole_file
from longtake.core.manager import add_plugin

SMALL = ("--steps", "1", "--width", "32", "--height", "32", "--frames", "4", "-q")
KEPT = "would take the place of"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def same_name(folder: Path) -> Path:
    return folder / "photo.webp"


def relative_name(folder: Path) -> Path:
    return Path("photo.webp")


def roundabout_name(folder: Path) -> Path:
    return Path("sub", "..", "photo.webp")


def link(folder: Path) -> Path:
    (folder / "link.webp").symlink_to("photo.webp")
    return folder / "link.webp"


def hard_link(folder: Path) -> Path:
    (folder / "hard.webp").hardlink_to(folder / "photo.webp")
    return folder / "hard.webp"


def linked_folder(folder: Path) -> Path:
    (folder / "elsewhere").symlink_to(".")
    return folder / "elsewhere" / "photo.webp"


def folder_around(folder: Path) -> Path:
    return folder


@pytest.mark.parametrize(
    "written", [same_name, relative_name, roundabout_name, link, hard_link, linked_folder, folder_around]
)
def test_an_output_by_any_name_is_no_input(here, written):
    (here / "photo.webp").write_text("precious")
    (here / "sub").mkdir()
    with pytest.raises(OutputError, match=f"{KEPT} the start image, .*photo.webp; give the output another name"):
        check_apart([Named("output", written(here))], [Named("the start image", here / "photo.webp")])


def test_it_is_the_preview_that_gets_another_name(here):
    (here / "photo.webp").touch()
    with pytest.raises(OutputError, match="preview .* would take .*; give the preview another name"):
        check_apart([Named("preview", Path("photo.webp"))], [Named("the start image", here / "photo.webp")])


def test_a_name_that_is_not_there_yet_counts_too(here):
    (here / "link").symlink_to("new.npy")
    with pytest.raises(OutputError, match="preview new.npy takes the place of output link"):
        check_apart([Named("output", Path("link")), Named("preview", Path("new.npy"))])


def test_of_a_folder_what_is_read_counts_and_a_new_file_in_it_is_welcome(here):
    for name in ("frames/a.png", "model/model_index.json", "model/unet/config.json", "model/plan.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    read = [Named("the video that is continued", Path("frames")), Named("the model", Path("model"))]
    for good in ("frames/out.mp4", "frames/b.png", "model/out.mp4", "model/plan.png"):
        check_apart([Named("output", Path(good))], read)
    for bad in ("frames", "frames/a.png", "model", "model/unet", "model/unet/config.json", "model/model_index.json"):
        with pytest.raises(OutputError, match=KEPT):
            check_apart([Named("output", Path(bad))], read)


def test_everything_that_a_generation_reads_is_known(here, builtins, plugins_with, picture):
    for name in ("a.png", "b.png", "c.mp4", "m.safetensors", "n.npy"):
        (here / name).touch()
    data = {"image": "a.png", "end_image": "b.png", "continues": "c.mp4", "model": "m.safetensors"}
    data["noise"] = {"name": "file", "path": "n.npy"}
    found = {named.path.name for named in sources_of(load_config(data, builtins.registry))}
    assert found == {"a.png", "b.png", "c.mp4", "m.safetensors", "n.npy"}
    assert [named.role for named in sources_of(Config())] == ["the model"]
    picture.save(here / "opened.png")
    assert Path("opened.png") in [named.path for named in sources_of(Config(), None, Image.open("opened.png"))]


class Files(NoiseSchedule):
    """Has files at several depths."""

    name = "files"
    several: tuple[Path, ...] = ()
    inner: NoiseSchedule | None = None
    by_name: dict[str, Path] = Field(default={})

    def noise(self, shape_BFCYX, sources_F, generator):
        """Never asked."""
        raise NotImplementedError


def test_files_within_options_are_known_and_recorded_by_whole_paths(here):
    strategy = Files(several=["a", "b"], inner=Files(by_name={"x": "c"}))
    assert {str(path) for path in strategy_files(strategy)} == {"a", "b", "c"}
    config = with_absolute_paths(Config(noise=strategy))
    assert set(strategy_files(config.noise)) == {here / "a", here / "b", here / "c"}


def test_a_file_whose_numbers_were_read_is_known(here, builtins):
    (here / "f.json").write_text("[1, 2, 4]")
    data = {"positional": {"name": "longrope", "factors": "f.json"}}
    config = load_config(data, builtins.registry)
    again = load_config({"positional": config.positional}, builtins.registry)
    for each in (config, again, copy.deepcopy(config), config.model_copy()):
        assert Named("a file of positional", Path("f.json")) in sources_of(each)
    listed = load_config({"positional": {"name": "longrope", "factors": [1, 2, 4]}}, builtins.registry)
    assert listed == config
    assert listed.dump() == config.dump()
    assert list(with_absolute_paths(config).dump()["positional"]["factors"]) == [1, 2, 4]


def test_a_picture_that_was_opened_as_a_file_is_no_output(here, picture, builtins):
    picture.save("w.webp")
    before = (here / "w.webp").read_bytes()
    with open("w.webp", "rb") as file, Image.open(file) as opened, pytest.raises(OutputError, match=KEPT):
        generate(opened, output="w.webp", overwrite=True, plugins=builtins, frames=4, steps=1)
    assert (here / "w.webp").read_bytes() == before


CASES = {
    "plan": (("plan", "start.png", "-o", "start.png"), "the start image, start.png"),
    "preview": (("generate", "start.png", "--preview", "start.png", "-o", "o.mp4"), "the start image, start.png"),
    "overwrite": (("generate", "p.webp", "--overwrite", "-o", "p.webp"), "the start image, p.webp"),
    "end image": (
        ("generate", "start.png", "--end-image", "p.webp", "--overwrite", "-o", "p.webp"),
        "the end image, p.webp",
    ),
    "frame": (("generate", "old/frame_0.png", "--overwrite", "-o", "old"), "the start image, old/frame_0.png"),
    "noise": (
        ("generate", "start.png", "--noise", "file", "--set", "noise.path=n.npy", "--overwrite", "-o", "n.npy"),
        "a file of noise, n.npy",
    ),
    "config": (("generate", "start.png", "-c", "c.mp4.json", "--overwrite", "-o", "c.mp4"), "the config file"),
    "plan's config": (("plan", "start.png", "-c", "start.png", "-o", "start.png"), "must end in one of"),
    "record": (("extend", "p.webp", "-c", "c.mp4.json", "--overwrite", "-o", "c.mp4"), "the config file, c.mp4.json"),
    "measure": (("measure", "old", "-o", "old/frame_0.png"), "the video, old/frame_0.png"),
    "tune": (("tune", "start.png", "-c", "t/best.yaml", "--out", "t"), "the config file, t/best.yaml"),
}


@pytest.mark.parametrize("case", CASES)
def test_no_command_destroys_what_it_reads(cli, folder, picture, case):
    words, said = CASES[case]
    for name in ("old", "t"):
        (folder / name).mkdir()
    for name in ("old/frame_0.png", "p.webp"):
        picture.save(folder / name)
    np.save(folder / "n.npy", np.zeros((9, 4, 4, 4), np.float32))
    (folder / "c.mp4.json").write_text('{"frames": 4}')
    (folder / "t" / "best.yaml").write_text("frames: 4\n")
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    more = () if case == "measure" else ("--model", "{tiny}", "--frames", "4")
    assert said in cli(*words, *more, code=2).stderr
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


NAMES = {
    "empty": ("", "is not a file name"),
    "here": (".", "is not a file name"),
    "root": ("/", "is not a file name"),
    "above": ("..", "is not a file name"),
    "ending": (".mp4", "is not a file name"),
    "long": (
        "n" * 246 + ".mp4",
        "its name is 250 bytes long; this folder allows 2[0-9]{2}, because the record adds an ending",
    ),
    "path": ("x/" * 3000 + "a.mp4", r"cannot write x/x/.*\.\.\.: File name too long"),
    "ring": ("ring", "ring is a link that leads nowhere, which no folder can replace; remove the link"),
    "pipe": ("pipe.mp4", "is a device or a pipe and is not replaced"),
    "record": ("r.mp4", "r.mp4.json is a folder, and the record of r.mp4 would have its name"),
    "link": ("link", "is a link to the folder "),
    "bytes": (os.fsdecode(b"\xff.mp4"), r"output \\xff.mp4: the name, or that of a folder above it, is not in UTF-8"),
}


@pytest.mark.parametrize("case", NAMES)
def test_a_name_that_cannot_be_written_is_a_sentence(here, case):
    name, said = NAMES[case]
    os.mkfifo("pipe.mp4")
    for made in ("r.mp4.json", "folder"):
        Path(made).mkdir()
    Path("link").symlink_to("folder")
    Path("ring").symlink_to("ring")
    before = sorted(os.listdir())
    with pytest.raises(OutputError, match=said):
        check_output(Path(name), overwrite=True)
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize("check", [check_file, check_preview, check_picture])
def test_a_name_that_is_too_long_is_a_sentence_for_every_file(here, check):
    for size in (248, 255, 256, 1000):
        with pytest.raises(
            OutputError, match=f"its name is {size} bytes long; this folder allows 2.., because it grows"
        ):
            check(Path("n" * (size - 4) + ".png"))
    with pytest.raises(OutputError, match="File name too long"):
        check(Path("x/" * 3000 + "a.png"))
    check(Path("n" * 200 + ".png"))


def test_a_link_that_leads_nowhere_is_something_that_is_there(here):
    Path("ring.npy").symlink_to("ring.npy")
    with pytest.raises(OutputError, match=r"ring.npy exists; say --overwrite"):
        check_output(Path("ring.npy"), overwrite=False)


def test_pipes_and_folders_are_no_files_to_replace(here):
    os.mkfifo("pipe.json")
    with pytest.raises(OutputError, match=r"cannot write pipe\.json: it is a folder, a device or a pipe"):
        check_file(Path("pipe.json"))
    with pytest.raises(OutputError, match="device or a pipe"), whole_file(Path("pipe.json")):
        pytest.fail("nothing may be written")
    with pytest.raises(OutputError, match="is a folder, a device or a pipe"):
        check_preview_of("pipe.png", os.mkfifo)
    assert Path("pipe.json").is_fifo()


def check_preview_of(name: str, make: object) -> None:
    make(name)
    check_preview(Path(name))


@pytest.mark.parametrize("name", ["p.h5", "p.xbm", "p.txt", "p"])
def test_a_preview_of_an_ending_that_is_only_read_or_holds_no_colours_is_refused(here, name):
    with pytest.raises(OutputError, match=f"preview {name} needs a picture's ending, such as .png, .jpg or .webp$"):
        check_preview(Path(name))


@pytest.mark.parametrize("ending", LIMITS)
def test_what_the_limits_allow_can_be_written_and_beyond_is_refused(here, ending):
    limits, output = LIMITS[ending], Path(f"out{ending}")
    for fps in (limits.slowest, limits.fastest):
        check_limits(output, Config(width=8, height=8, output_fps=min(fps, 1000)))
        with open_video(output, fps=fps, frames=16) as writer:
            for _ in range(16):
                writer.write(np.zeros((8, 8, 3), np.uint8))
    with open_video(output, fps=7, frames=1) as writer:
        writer.write(np.zeros((2, limits.side, 3), np.uint8))
    with pytest.raises(
        OutputError, match=f"{ending} holds .* frames per second, got 0.0001; give another --output-fps"
    ):
        check_limits(output, Config(width=8, height=8, output_fps=1e-4))
    with pytest.raises(OutputError, match=rf"holds up to {limits.side} pixels a side, got 64x\d+; make"):
        check_limits(output, Config(width=1, height=limits.side // 64 + 1, enlarge=64))


def test_a_rate_that_a_gif_cannot_hold_is_said_before_anything_is_computed(cli, folder):
    done = cli("generate", "start.png", "--model", "{tiny}", *SMALL, "--fps", "120", "-o", "fast.gif", code=2)
    assert done.stderr.startswith("error: cannot write fast.gif: .gif holds 0.002 to 100 frames per second, got 120;")


def test_the_hash_in_the_record_is_that_of_the_image_that_was_read(here, tiny_model, picture, builtins):
    picture.save("photo.png")
    digest = hashlib.sha256(Path("photo.png").read_bytes()).hexdigest()

    class Swap:
        @hookimpl
        def longtake_run_started(self, run: object) -> None:
            Path("photo.png").write_text("another one")

    add_plugin(builtins, Swap(), "swap")
    generate("photo.png", model=tiny_model, plugins=builtins, output="o.npy", frames=2, steps=1, width=32, height=32)
    record = json.loads(Path("o.npy.json").read_text())
    assert record["sha256"] == {str(here / "photo.png"): digest}


def test_an_input_whose_name_is_not_utf8_is_found_again_from_the_record(here, tiny_model, picture, builtins):
    name = os.fsdecode(b"\xff.png")
    picture.save(Path(name))
    generate(name, model=tiny_model, plugins=builtins, output="o.npy", frames=2, steps=1, width=32, height=32)
    record = json.loads(Path("o.npy.json").read_text(encoding="utf-8"))
    assert longtake.read_config_file("o.npy.json")["image"] == str(here / name)
    assert list(record["sha256"]) == [str(here / name)]
