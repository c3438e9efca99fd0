"""Images decode to RGB whatever their kind, and broken ones are refused by name."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from hummingbird.data import image_files
from hummingbird.data.interface import Unreadable
from hummingbird.errors import UserError
from tests.data.files import encode, ramp

IMAGE = ramp(40, 56)
JPEG = encode(IMAGE, "JPEG", quality=95)


def damaged(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + np.random.default_rng(1).bytes(60) + data[middle + 60 :]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"not an image at all", "not an image"),
        (JPEG[: len(JPEG) // 2], "damaged JPEG"),
        (damaged(encode(ramp(200, 300), "JPEG", quality=95)), "damaged JPEG"),
        (b"\xff\xd8\xff", "broken JPEG"),
        (encode(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))[:900], "broken PNG"),
        (encode(np.zeros((4, 4), np.float32), "TIFF"), "floating-point"),
    ],
    ids=["zero bytes", "text", "truncated JPEG", "corrupt middle", "header only", "truncated PNG", "float TIFF"],
)
def test_broken_images_are_refused_by_name(data, message):
    with pytest.raises(Unreadable, match=message) as caught:
        image_files.decode_image(data, "some/file.jpg")
    assert "some/file.jpg" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, UserError)


@pytest.mark.parametrize("lenient", [False, True])
def test_odd_ends_and_versions_of_complete_jpegs_are_no_damage(lenient):
    end = JPEG.rindex(b"\xff\xd9")
    expected = image_files.decode_image(JPEG, "x")
    stray = [JPEG[:end] + b"1" * count + JPEG[end:] for count in (1, 7)]
    odd_version = JPEG[:11] + bytes([9]) + JPEG[12:]
    assert JPEG[6:10] == b"JFIF"
    for data in (JPEG[:end], JPEG + b"appended", odd_version, *stray):
        np.testing.assert_array_equal(image_files.decode_image(data, "x", lenient=lenient), expected)


def test_many_stray_bytes_are_what_damage_leaves():
    end = JPEG.rindex(b"\xff\xd9")
    with pytest.raises(Unreadable, match="extraneous bytes"):
        image_files.decode_image(JPEG[:end] + b"1" * 400 + JPEG[end:], "x")
    with pytest.raises(Unreadable, match="truncated"):
        image_files.decode_image(JPEG[: end - 40], "x")


def test_a_damaged_middle_is_accepted_only_if_lenient():
    data = damaged(encode(ramp(200, 300), "JPEG", quality=95))
    assert image_files.decode_image(data, "x", lenient=True).shape == (200, 300, 3)
    with pytest.raises(Unreadable, match="truncated"):
        image_files.decode_image(JPEG[: len(JPEG) // 2], "x", lenient=True)


def test_a_png_named_jpg_is_read_as_png():
    np.testing.assert_array_equal(image_files.decode_image(encode(IMAGE), "x.jpg"), IMAGE)


def test_jpeg_decodes_as_in_pillow():
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
    # the eight orientations of the EXIF standard
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


def with_chunk(png: bytes, kind: bytes, content: bytes) -> bytes:
    """Inserts a chunk after the header of a PNG."""
    chunk = struct.pack(">I4s", len(content), kind) + content + struct.pack(">I", zlib.crc32(kind + content))
    return png[:33] + chunk + png[33:]  # signature and IHDR take 8 + 25 bytes


@pytest.mark.parametrize(
    ("kind", "start"),
    [(b"iCCP", b"p\0\0"), (b"zTXt", b"k\0\0"), (b"iTXt", b"k\0\1\0\0\0")],
    ids=["iCCP", "zTXt", "iTXt"],
)
def test_a_png_may_carry_a_large_profile_or_text(kind, start):
    large = with_chunk(encode(IMAGE), kind, start + zlib.compress(bytes(2_000_000)))
    assert len(large) < 20_000
    np.testing.assert_array_equal(image_files.decode_image(large, "x.png"), IMAGE)
    at_the_end = large[:33] + large[large.index(b"IDAT") - 4 : -12] + large[33 : large.index(b"IDAT") - 4] + large[-12:]
    np.testing.assert_array_equal(image_files.decode_image(at_the_end, "x.png"), IMAGE)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n", "a Git LFS pointer"),
        (b"/annex/objects/SHA256E-s1--1.png\n", "a git-annex pointer"),
    ],
)
def test_a_pointer_in_place_of_an_image_is_named(content, message):
    with pytest.raises(Unreadable, match=message):
        image_files.decode_image(content, "x.png")


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_an_image_can_be_decoded_as_it_is_stored(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(IMAGE, exif=exif.tobytes())
    np.testing.assert_array_equal(image_files.decode_image(data, "x", upright=False), IMAGE)
    assert image_files.image_size(data, "x", upright=False) == (IMAGE.shape[1], IMAGE.shape[0])
    assert image_files.exif_orientation(data, "x") == orientation
