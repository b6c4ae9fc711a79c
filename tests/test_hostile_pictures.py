"""Images and clips that are damaged, hostile or something else: one sentence each, and never a wait without end."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile import CLIP, ESCAPE, PICTURE, array, chunk, folder_of, gif, link_to, listening, make, npy, npz, png, saved
from PIL import Image

from longtake.core.errors import ImageError, LongtakeError
from longtake.core.footage import read_video
from longtake.core.image import fit_image, read_image

PNG = saved(PICTURE)
PIPE = "cannot be read: it is a pipe, a socket or a device; save what comes out of it as a file"
NO_PICTURE = "is not in a format that can be read, such as PNG, JPEG or WebP"
LARGE = "has more than 178 million pixels; make it smaller first"
SHAPE = "'shape': {}, 'descr': '|u1', 'fortran_order': False, "

IMAGES = {
    "empty.png": (b"", "is empty"),
    "noise.png": (bytes(range(200)), NO_PICTURE),
    "bomb.png": (png(30000, 30000), LARGE),
    "bomb.ppm": (b"P6\n999999999 999999999\n255\n", LARGE),
    "text.png": (
        png(4, 4, more=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**7)))), "cannot be read: Decompressed data too"
    ),
    "cut.png": (PNG[:900], "cannot be read: image file is truncated"),
    "cut.jpg": (saved(PICTURE, "JPEG")[:400], "cannot be read: Truncated File Read"),
    "hollow.png": (png(0, 5), NO_PICTURE),
    "nan.tif": (saved(Image.fromarray(np.full((8, 8), np.nan, np.float32)), "TIFF"), "it holds numbers that are not"),
    "folder.png": (Path.mkdir, "cannot be read: it is a folder; name one picture of it, or continue its pictures"),
    "pipe.png": (os.mkfifo, PIPE),
    "socket.png": (listening, PIPE),
    "device.png": (link_to("/dev/zero"), PIPE),
    "ring.png": (link_to("ring.png"), "cannot be read: Too many levels of symbolic links"),
    "nothing.png": (link_to("nowhere"), "does not exist: it is a link to nothing"),
    "clip.npy": (array(CLIP), "is not a picture; to continue a video: longtake extend"),
    "clip.mp4": (b"\0\0\0\x18ftypisom" + bytes(100), "is not a picture; to continue a video: longtake extend"),
    "named.png": (b"\x1aE\xdf\xa3" + bytes(50), "is not a picture; to continue a video: longtake extend"),
    "phone.heic": (b"\0\0\0\x18ftypheic" + bytes(100), "it is a HEIC, as telephones make them: save it as a JPEG"),
    "drawing.svg": (b"<svg></svg>", "it is a drawing (SVG): save it as a PNG"),
    "page.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "it is a page (PDF, PostScript)"),
    "stub.bufr": (b"BUFR" + bytes(100), NO_PICTURE),
    ESCAPE: (b"junk", NO_PICTURE),
}  # fmt: skip

CLIPS = {
    "bombs": (folder_of(a_png=PNG, b_png=png(30000, 30000)), f"b.png {LARGE}"),
    "sizes": (
        folder_of(a_png=PNG, b_png=saved(PICTURE.resize((40, 24)))),
        "holds pictures of different sizes: a.png has 32 x 24 pixels, b.png 40 x 24; bring them to one size first",
    ),
    "jpegs": (folder_of(a_jpg=b""), "holds no PNGs, but ['.jpg']"),
    "nested": (lambda path: (path / "a.png").mkdir(parents=True), "a.png cannot be read: it is a folder"),
    "piped": (lambda path: (path.mkdir(), os.mkfifo(path / "a.png")), f"a.png {PIPE}"),
    "pipe.mp4": (os.mkfifo, PIPE),
    "zero.mp4": (link_to("/dev/zero"), PIPE),
    "empty.mp4": (b"", "cannot be read: it is empty"),
    "zip.npy": (npz(), "is an archive of arrays (.npz); save the one that holds the frames by itself, as .npy"),
    "clip.npz": (npz(), "is an archive of arrays (.npz)"),
    "objects.npy": (array(np.array([1, {}], dtype=object)), "it holds Python objects, which may run any code when"),
    "pickle.npy": (b"\x80\x04N.", "it is no array of numpy's; save it with numpy.save"),
    "float.npy": (array(CLIP / 255), "must hold (F, H, W, 3) in uint8, got (5, 24, 32, 3) in float64"),
    "seven.npy": (array(np.zeros((3, 24, 32, 7), np.uint8)), "must hold (F, H, W, 3) in uint8, got (3, 24, 32, 7)"),
    "negative.npy": (npy(f"{{{SHAPE.format((-1, 24, 32, 3))}}}"), "its header does not fit its content"),
    "huge.npy": (npy(f"{{{SHAPE.format((10**7, 2400, 3200, 3))}}}"), "its header does not fit its content"),
    "more.npy": (npy(f"{{{SHAPE.format((2**63 - 1, 2**63 - 1, 32, 3))}}}"), "its header does not fit its content"),
    "code.npy": (npy("__import__('os').system('touch owned')"), "its header does not fit its content"),
    "deep.npy": (npy("{'descr'" + "[" * 3000), "its header does not fit its content"),
    "cut.npy": (array(CLIP)[:500], "its header does not fit its content"),
    "cut.gif": (gif(PICTURE, PICTURE.rotate(70))[:1500], "cannot be read: image file is truncated"),
    "huge.gif": (b"GIF89a" + b"\xff" * 4 + b"\0\0\0," + bytes(4) + b"\xff" * 4 + b"\0\x02\0;", LARGE),
    "named.gif": (b"hello", "cannot be read: it is no gif"),
}  # fmt: skip


@pytest.mark.parametrize("name", IMAGES, ids=repr)
def test_an_image_that_cannot_be_used_is_refused_in_a_sentence(tmp_path, name):
    content, said = IMAGES[name]
    with pytest.raises(ImageError) as refused:
        read_image(make(content, tmp_path / name))
    assert said in str(refused.value)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("name", CLIPS)
def test_a_clip_that_cannot_be_used_is_refused_in_a_sentence(tmp_path, name, monkeypatch, recwarn):
    monkeypatch.chdir(tmp_path)
    content, said = CLIPS[name]
    with pytest.raises(LongtakeError) as refused:
        read_video(make(content, Path(name)))
    assert said in str(refused.value)
    assert not Path("owned").exists()
    assert not recwarn.list


def test_what_takes_more_memory_than_is_free_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("longtake.core.stills.free_memory", lambda device: 5000)
    said = r"has 5 frames of 32 x 24 pixels, which take 11 KiB of memory; 5 KiB are free"
    for name, content in {"a.npy": array(CLIP), "a.gif": gif(*(PICTURE.rotate(20 * n) for n in range(5)))}.items():
        with pytest.raises(LongtakeError, match=said):
            read_video(make(content, tmp_path / name))


def test_frames_that_differ_in_transparency_and_kind_become_one_video(tmp_path):
    glass = Image.new("RGBA", (32, 24), (255, 0, 0, 0))
    animation = read_video(make(gif(PICTURE.convert("RGBA"), glass, PICTURE), tmp_path / "a.gif"))
    assert animation.shape[1:] == (24, 32, 3)
    kinds = {"a_png": PNG, "b_png": saved(PICTURE.convert("L")), "c_png": saved(glass)}
    frames = read_video(make(folder_of(**kinds), tmp_path / "kinds"))
    assert np.array_equal(frames[0], CLIP[0])
    assert (frames[2] == 255).all()
    assert np.array_equal(read_video(make(array(np.asfortranarray(CLIP)), tmp_path / "a.npy")), CLIP)


def test_frames_are_in_the_order_of_their_numbers(tmp_path):
    colours = {f"{number}_png": saved(Image.new("RGB", (8, 8), (number, 0, 0))) for number in (1, 2, 9, 10, 11, 100)}
    frames = read_video(make(folder_of(**colours), tmp_path / "clip"))
    assert frames[:, 0, 0, 0].tolist() == [1, 2, 9, 10, 11, 100]


@pytest.mark.parametrize(
    "picture",
    [
        PICTURE.convert("CMYK"), PICTURE.convert("P"), PICTURE.convert("1"), PICTURE.convert("LA"),
        Image.new("LAB", (8, 8)), Image.new("RGB", (1, 1)), Image.new("RGB", (1, 9000)), Image.new("RGB", (9000, 1)),
        Image.fromarray(np.linspace(0, 65535, 768).reshape(24, 32).astype(">u2")),
    ],
    ids=lambda picture: f"{picture.mode} {picture.size}",
)  # fmt: skip
def test_pictures_of_every_kind_and_proportion_are_used(picture):
    for how in ("crop", "pad"):
        assert fit_image(read_image(picture), 32, 24, how).size == (32, 24)


def test_big_endian_depths_are_scaled_as_others_are(tmp_path):
    ramp = np.linspace(0, 65535, 64).reshape(8, 8)
    for order in "<>":
        Image.fromarray(ramp.astype(f"{order}u2")).save(tmp_path / "a.tif")
        assert np.abs(np.asarray(read_image(tmp_path / "a.tif"))[..., 0].astype(int) - ramp / 257).max() <= 1


@pytest.mark.parametrize("source", [torch.zeros(3, 4, 4), b"\x89PNG", None, 5, ["a.png"]])
def test_what_is_neither_file_nor_picture_is_refused_by_its_kind(source):
    with pytest.raises(ImageError, match=f"an image must be a file's name, .*got {type(source).__name__}"):
        read_image(source)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "the image's name is empty"),
        ("https://example.org/a.png", "does not exist; nothing is fetched: download it and name the file"),
        ("a" * 5000 + ".png", "cannot be read: File name too long"),
        ("a\0.png", "cannot be read: embedded null byte"),
        ("a.png/b.png", "does not exist"),
    ],
    ids=["empty", "address", "long", "null", "below a file"],
)
def test_names_that_are_no_files_are_refused(tmp_path, monkeypatch, name, said):
    monkeypatch.chdir(tmp_path)
    Path("a.png").write_bytes(PNG)
    with pytest.raises(ImageError) as refused:
        read_image(name)
    assert said in str(refused.value)
    assert str(refused.value).isprintable()


def test_a_file_without_permission_is_refused(tmp_path, monkeypatch):
    def forbidden(path: object, flags: int) -> int:
        raise PermissionError(13, "Permission denied")

    path = make(PNG, tmp_path / "a.png")
    monkeypatch.setattr("longtake.core.readable.os.open", forbidden)
    with pytest.raises(ImageError, match=r"a\.png cannot be read: Permission denied$"):
        read_image(path)


def test_of_several_pictures_in_a_file_the_first_is_used_which_is_said(tmp_path, caplog):
    path = make(gif(PICTURE.convert("P"), PICTURE.rotate(90)), tmp_path / "a.gif")
    assert np.array_equal(np.asarray(read_image(path)), np.asarray(PICTURE.convert("P").convert("RGB")))
    said = "a.gif holds several pictures; the first is the image; to continue a video: longtake extend"
    assert said in caplog.text


@pytest.mark.parametrize(
    "words",
    [
        ("generate", "pipe.png", "-o", "out.mp4"),
        ("generate", "start.png", "--end-image", "pipe.png", "-o", "out.mp4"),
        ("generate", "--continues", "pipe.png", "--frames", "9", "-o", "out.mp4"),
        ("plan", "pipe.png"),
        ("config", "pipe.png"),
        ("extend", "pipe.png", "--frames", "9", "-o", "out.mp4"),
        ("measure", "pipe.png"),
        ("tune", "pipe.png", "--out", "tuned"),
    ],
    ids=" ".join,
)
def test_every_command_refuses_so(cli, folder, words):
    os.mkfifo(folder / "pipe.png")
    done = cli(*words, code=2)
    assert f"pipe.png {PIPE}\n" in done.stderr
    assert not (folder / "out.mp4").exists()


def test_no_foreign_name_gives_commands_to_the_terminal(cli, folder):
    (folder / ESCAPE).write_bytes(struct.pack("<Q", 2))
    for words in (("generate", ESCAPE, "-o", "out.mp4"), ("measure", ESCAPE), ("plan", "--model", ESCAPE)):
        done = cli(*words, code=2)
        assert "\x1b" not in done.stderr + done.stdout
        assert r"\x1b]0;owned\x07" in done.stderr


@pytest.mark.parametrize(
    "name", [ESCAPE, "[red][:red]", r"$\frac$", "_"], ids=["escape", "markup", "formula", "hidden"]
)
def test_names_are_shown_as_they_are_where_all_goes_well(cli, folder, tiny_folder, name):
    """Not as commands to the terminal, markup of its tables, or formulas of its plots."""
    np.save(folder / f"{name}.npy", CLIP)
    done = cli("measure", f"{name}.npy", "-o", "plot.png")
    shown = name.encode("unicode_escape").decode() if name == ESCAPE else name
    assert f"{shown}.npy" in done.stdout
    (folder / f"m{name}").symlink_to(tiny_folder)
    words = ("--frames", "3", "--steps", "1", "--width", "32", "--height", "32", "-o", f"o{name}.npy")
    done = cli("generate", "start.png", "--model", f"m{name}", *words)
    assert "\x1b" not in done.stderr
