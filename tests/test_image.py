"""Start images: every format, upright, flattened, fitted without distortion."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from longtake.core.errors import ImageError
from longtake.core.image import fit_image, read_image


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp", "tiff", "gif"])
def test_any_format_is_read(picture, tmp_path, ending):
    picture.save(tmp_path / f"a.{ending}")
    image = read_image(tmp_path / f"a.{ending}")
    assert (image.mode, image.size) == ("RGB", (48, 40))
    assert np.abs(np.asarray(image).astype(int) - np.asarray(picture)).mean() < 12


@pytest.mark.parametrize(("orientation", "turned"), [(1, 0), (6, 270), (8, 90), (3, 180)])
def test_the_cameras_orientation_is_obeyed(picture, tmp_path, orientation, turned):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(tmp_path / "a.png", exif=exif)
    expected = picture.rotate(turned, expand=True)
    assert np.array_equal(np.asarray(read_image(tmp_path / "a.png")), np.asarray(expected))


def test_alpha_is_flattened_onto_white(tmp_path):
    pixels = np.zeros((4, 6, 4), np.uint8)
    pixels[:, :3, 3] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    flat = np.asarray(read_image(tmp_path / "a.png"))
    assert (flat[:, :3] == 0).all()
    assert (flat[:, 3:] == 255).all()


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path):
    ramp = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    values = np.asarray(read_image(tmp_path / "a.png"))[..., 0]
    assert np.abs(values.astype(int) - ramp / 257).max() <= 1


@given(
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    to=st.tuples(st.integers(1, 80), st.integers(1, 80)),
    how=st.sampled_from(["crop", "pad"]),
)
def test_an_image_of_one_colour_stays_so_and_gets_the_size_asked_for(width, height, to, how):
    fitted = fit_image(Image.new("RGB", (width, height), (200, 100, 50)), *to, how)
    assert fitted.size == to
    colours = {colour for _, colour in fitted.getcolors()}
    assert colours <= ({(200, 100, 50)} if how == "crop" else {(200, 100, 50), (0, 0, 0)})


def test_cropping_keeps_the_middle_and_padding_keeps_all():
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, :20], wide[:, 20:40], wide[:, 40:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    cropped = np.asarray(fit_image(Image.fromarray(wide), 20, 20, "crop"))
    assert (cropped[:, 2:-2] == (0, 255, 0)).all()
    padded = np.asarray(fit_image(Image.fromarray(wide), 60, 60, "pad"))
    assert np.array_equal(padded[20:40], wide)
    assert (padded[:20] == 0).all() and (padded[40:] == 0).all()


def test_an_image_of_the_right_size_is_left_alone(picture):
    assert fit_image(picture, 48, 40, "crop") is picture


@pytest.mark.parametrize("array", [np.zeros((3, 4)), np.zeros((3, 4, 4), np.uint8), np.zeros((3, 4, 3))])
def test_arrays_of_another_kind_are_refused(array):
    with pytest.raises(ImageError, match=r"must be \(H, W, 3\) in uint8, got"):
        read_image(array)


def test_what_is_no_image_is_said_so(tmp_path):
    with pytest.raises(ImageError, match="does not exist"):
        read_image(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(b"no picture at all")
    with pytest.raises(ImageError, match="not in a format that can be read"):
        read_image(tmp_path / "a.png")
    with pytest.raises(ImageError, match="cannot be read"):
        read_image(tmp_path)
