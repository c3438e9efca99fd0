"""Files to arrays: every common kind of image comes out as RGB, every broken one is refused by name."""

import io

import numpy as np
import pytest
from PIL import Image

from hummingbird.data import image_files
from hummingbird.errors import UserError
from tests.data.files import blocks, encode, palette_png, ramp

IMAGE = ramp(40, 56)
JPEG = encode(IMAGE, "JPEG", quality=95)


def damaged(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + np.random.default_rng(1).bytes(60) + data[middle + 60 :]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"not an image at all", "no image"),
        (JPEG[: len(JPEG) // 2], "damaged JPEG"),
        (damaged(encode(ramp(200, 300), "JPEG", quality=95)), "damaged JPEG"),
        (b"\xff\xd8\xff", "broken JPEG"),
        (encode(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))[:900], "broken PNG"),
        (encode(np.zeros((4, 4), np.float32), "TIFF"), "floating-point"),
    ],
    ids=["zero bytes", "text", "truncated JPEG", "corrupt middle", "header only", "truncated PNG", "float TIFF"],
)
def test_broken_images_are_refused_by_name(data, message):
    with pytest.raises(image_files.Unreadable, match=message) as caught:
        image_files.decode_image(data, "some/file.jpg")
    assert "some/file.jpg" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, UserError)


def test_a_damaged_middle_is_taken_only_on_request():
    data = damaged(encode(ramp(200, 300), "JPEG", quality=95))
    assert image_files.decode_image(data, "x", lenient=True).shape == (200, 300, 3)
    with pytest.raises(image_files.Unreadable, match="truncated"):
        image_files.decode_image(JPEG[: len(JPEG) // 2], "x", lenient=True)


def test_png_named_jpg_is_read_by_what_it_is():
    np.testing.assert_array_equal(image_files.decode_image(encode(IMAGE), "x.jpg"), IMAGE)


def test_jpeg_is_what_pillow_makes_of_it():
    ours = image_files.decode_image(JPEG, "x")
    theirs = np.asarray(Image.open(io.BytesIO(JPEG)))
    assert np.abs(ours.astype(int) - theirs).max() <= 2


@pytest.mark.parametrize(
    ("mode", "kind", "slack"),
    [("CMYK", "JPEG", 6), ("RGBA", "PNG", 0), ("P", "PNG", 52), ("RGBA", "WEBP", 20)],
)
def test_other_colours_become_rgb(mode, kind, slack):
    out = image_files.decode_image(encode(IMAGE, kind, mode, **({"quality": 95} if kind != "PNG" else {})), "x")
    assert out.shape == IMAGE.shape
    assert np.abs(out.astype(int) - IMAGE).max() <= slack


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_greyscale_is_repeated(kind):
    out = image_files.decode_image(encode(IMAGE[..., 0], kind), "x")
    assert out.shape == IMAGE.shape
    assert (np.ptp(out, axis=-1) == 0).all()
    assert np.abs(out[..., 0].astype(int) - IMAGE[..., 0]).max() <= 6


def test_16_bits_are_scaled_not_saturated():
    wide = np.arange(0, 65536, 1024, dtype=np.uint16).reshape(8, 8)
    np.testing.assert_array_equal(image_files.decode_image(encode(wide), "x")[..., 1], (wide >> 8))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_undone(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    shown = image_files.decode_image(encode(IMAGE, kind, exif=exif.tobytes()), "x")
    # what each of the eight orientations means, by the EXIF standard
    upright = {
        1: IMAGE,
        2: IMAGE[:, ::-1],
        3: IMAGE[::-1, ::-1],
        4: IMAGE[::-1],
        5: IMAGE.transpose(1, 0, 2),
        6: np.rot90(IMAGE, -1),
        7: IMAGE[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(IMAGE, 1),
    }[orientation]
    assert shown.shape == upright.shape
    assert np.abs(shown.astype(int) - upright).mean() < 3
    assert image_files.image_size(encode(IMAGE, kind, exif=exif.tobytes()), "x") == (upright.shape[1], upright.shape[0])


def test_a_jpeg_is_decoded_smaller_by_no_more_than_asked():
    data = encode(ramp(800, 1600), "JPEG")
    for reduce in (1.0, 1.9, 2.0, 3.0, 4.0, 9.0):
        width, height = image_files.open_image(data, "x", reduce=reduce).size
        assert width >= 1600 / reduce
        assert height >= 800 / reduce
    assert image_files.open_image(data, "x", reduce=8).size == (200, 100)


# ---------------------------------------------------------------- masks
def test_ids_of_palette_grey_and_16_bit_masks():
    mask = blocks(10, 12, [0, 7, 255])
    for data in (palette_png(mask), encode(mask), encode(mask.astype(np.uint16))):
        np.testing.assert_array_equal(image_files.decode_ids(data, "x"), mask)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (encode(IMAGE), "in colours"),
        (encode(IMAGE, mode="RGBA"), "in colours"),
        (encode(IMAGE[..., 0], "JPEG"), "JPEG"),
        (b"", "is empty"),
    ],
    ids=["RGB", "RGBA", "JPEG", "zero bytes"],
)
def test_masks_that_hold_no_ids_are_refused(data, message):
    with pytest.raises(image_files.Unreadable, match=message):
        image_files.decode_ids(data, "mask.png")


# ---------------------------------------------------------------- depth
def test_depth_is_scaled_and_void_where_invalid():
    stored = np.array([[0, 1000, 65535], [5000, 1, 20000]], np.uint16)
    depth = image_files.decode_depth(encode(stored), "x", 0.001)
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth, [[0, 1, 0], [5, 0.001, 20]], rtol=1e-6)


def test_depth_of_floats_drops_what_is_not_a_distance():
    stored = np.array([[np.nan, np.inf, -np.inf], [-1.0, 0.0, 2.0]], np.float32)
    buffer = io.BytesIO()
    np.save(buffer, stored)
    for data in (buffer.getvalue(), encode(stored, "TIFF")):
        np.testing.assert_array_equal(image_files.decode_depth(data, "x", 1.0), [[0, 0, 0], [0, 0, 2]])


def test_depth_in_colours_or_with_more_axes_is_refused():
    with pytest.raises(image_files.Unreadable, match="no depth map"):
        image_files.decode_depth(encode(IMAGE), "x", 1.0)
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((2, 3, 4)))
    with pytest.raises(image_files.Unreadable, match="shape"):
        image_files.decode_depth(buffer.getvalue(), "x", 1.0)
