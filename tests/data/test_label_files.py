"""Masks decode to the ids that they store, depth maps to metres; unsuitable files are refused by name."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from hummingbird.data import label_files
from hummingbird.data.interface import Unreadable
from tests.data.files import blocks, encode, palette_png, ramp

IMAGE = ramp(40, 56)


# ---------------------------------------------------------------- masks
def test_ids_of_palette_grey_and_16_bit_masks():
    mask = blocks(10, 12, [0, 7, 255])
    for data in (palette_png(mask), encode(mask), encode(mask.astype(np.uint16))):
        np.testing.assert_array_equal(label_files.decode_ids(data, "x"), mask)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (encode(IMAGE), "in colours"),
        (encode(IMAGE, mode="RGBA"), "in colours"),
        (encode(IMAGE[..., 0], "JPEG"), "JPEG"),
        (encode(IMAGE[..., 0].astype(np.float32), "TIFF"), "in floating-point numbers"),
        (b"", "is empty"),
    ],
    ids=["RGB", "RGBA", "JPEG", "float TIFF", "zero bytes"],
)
def test_masks_that_hold_no_ids_are_refused(data, message):
    with pytest.raises(Unreadable, match=message):
        label_files.decode_ids(data, "mask.png")


def packed_png(ids: np.ndarray, bits: int) -> bytes:
    """Encodes ids as a greyscale PNG of 1, 2 or 4 bits per pixel."""
    height, width = ids.shape
    digits = "".join("".join(f"{value:0{bits}b}" for value in row).ljust(-(-width * bits // 8) * 8, "0") for row in ids)
    rows = np.packbits(np.array(list(digits), np.uint8)).reshape(height, -1)
    content = b"".join(b"\0" + row.tobytes() for row in rows)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I4s", len(data), kind) + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(content)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_ids_of_masks_with_fewer_than_8_bits_are_not_stretched(bits):
    ids = np.arange(7 * 5).reshape(7, 5) % 2**bits
    decoded = label_files.decode_ids(packed_png(ids, bits), "mask.png")
    np.testing.assert_array_equal(decoded, ids)
    assert decoded.dtype == np.uint8


def test_big_endian_masks_have_native_ids():
    data = encode(np.array([[1, 300]], np.uint16))
    picture = Image.frombytes("I;16B", (2, 1), np.array([[1, 300]], ">u2").tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, "TIFF")
    for encoded in (data, buffer.getvalue()):
        ids = label_files.decode_ids(encoded, "mask")
        assert (ids.tolist(), ids.dtype) == ([[1, 300]], np.dtype(np.uint16))


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def test_masks_may_be_npy_files_of_integers():
    ids = np.array([[0, 7], [255, 300]])
    for kind in (np.int16, np.uint16, np.int64):
        np.testing.assert_array_equal(label_files.decode_ids(npy(ids.astype(kind)), "mask.npy"), ids)
    for wrong in (ids.astype(np.float32), ids[None]):
        with pytest.raises(Unreadable, match=r"mask.npy holds .* expected integers \[height, width\]"):
            label_files.decode_ids(npy(wrong), "mask.npy")
    with pytest.raises(Unreadable, match=r"mask.npy is a broken"):
        label_files.decode_ids(npy(ids)[:-9], "mask.npy")


@pytest.mark.parametrize("ids", [[[-1, 0, 3]], [[0, 3, 1_000_001]]], ids=["negative", "above 16 bits"])
def test_ids_out_of_range_are_refused_by_name(ids):
    data = encode(np.array(ids, np.int32), "TIFF")
    with pytest.raises(
        Unreadable, match=rf"mask.tif holds ids from {min(ids[0])} to {max(ids[0])}, expected 0 to 65535"
    ):
        label_files.decode_ids(data, "mask.tif")
    table = label_files.id_table({0: 0, 3: 1})
    with pytest.raises(Unreadable, match="expected 0 to 65535"):
        label_files.look_up_ids(np.array(ids), table, "item 3")


# ---------------------------------------------------------------- depth
def test_depth_is_scaled_and_void_where_invalid():
    stored = np.array([[0, 1000, 65535], [5000, 1, 20000]], np.uint16)
    depth = label_files.decode_depth(encode(stored), "x", 0.001)
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth, [[0, 1, 0], [5, 0.001, 20]], rtol=1e-6)


def test_float_depth_is_void_where_it_is_not_a_distance():
    stored = np.array([[np.nan, np.inf, -np.inf], [-1.0, 0.0, 2.0]], np.float32)
    buffer = io.BytesIO()
    np.save(buffer, stored)
    for data in (buffer.getvalue(), encode(stored, "TIFF")):
        np.testing.assert_array_equal(label_files.decode_depth(data, "x", 1.0), [[0, 0, 0], [0, 0, 2]])


def test_depth_in_colours_or_with_more_axes_is_refused():
    with pytest.raises(Unreadable, match="not a depth map"):
        label_files.decode_depth(encode(IMAGE), "x", 1.0)
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((2, 3, 4)))
    with pytest.raises(Unreadable, match="shape"):
        label_files.decode_depth(buffer.getvalue(), "x", 1.0)
