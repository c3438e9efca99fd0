"""Encoded masks to class ids and depth maps to metres; broken or unsuitable files are refused by name."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping

import numpy as np
from jaxtyping import Float32, Int32, Integer, Num
from PIL import Image, ImageFile

from hummingbird.data.image_files import load_pixels, open_header
from hummingbird.data.interface import Unreadable
from hummingbird.errors import first_line

IGNORE = 255  # class id of void pixels in every segmentation source
MAX_ID = 65535  # largest id that a mask may store
NUMPY_START = b"\x93NUMPY"
# Grey values of less than 8 bits, which Pillow stretches to 0..255: by this factor.
STRETCHED = {"L;2": 85, "L;4": 17}


# ---------------------------------------------------------------- masks
def decode_ids(data: bytes, name: str) -> Integer[np.ndarray, "H W"]:
    """Decodes a mask to the ids that it stores.

    Args:
      data: the file's bytes: a greyscale or palette image, or a .npy file of integers [H, W].
      name: what to call it in errors.

    Raises:
      Unreadable: empty, truncated or damaged, a mask in colours, lossy, or with ids outside of 0 to 65535.
    """
    if data.startswith(NUMPY_START):
        ids = _load_npy(data, name)
        if ids.ndim != 2 or ids.dtype.kind not in "iu":
            raise Unreadable(f"{name} holds {ids.dtype} {list(ids.shape)}, expected integers [height, width]")
        _check_range(ids, name)
        return ids.astype(np.uint16)
    picture = open_header(data, name)
    if picture.format == "JPEG":
        raise Unreadable(f"{name} is a JPEG, which changes class ids by compression; store masks as PNG")
    if picture.mode not in ("P", "L", "1", "I", "I;16", "I;16B"):
        kind = "floating-point numbers" if picture.mode == "F" else "colours"
        raise Unreadable(
            f"{name} is a mask in {kind} (mode {picture.mode}) where class ids are expected;"
            " store ids as greyscale or palette PNG"
        )
    stretched = STRETCHED.get(_raw_mode(picture), 1)
    ids = load_pixels(picture, name)
    _check_range(ids, name)
    return (ids // stretched).astype({1: np.uint8, 2: np.uint16, 4: np.int32}[ids.dtype.itemsize], copy=False)


def _check_range(ids: np.ndarray, name: str) -> None:
    if ids.dtype not in (np.bool_, np.uint8, np.uint16) and (ids.min() < 0 or ids.max() > MAX_ID):
        raise Unreadable(
            f"{name} holds ids from {ids.min()} to {ids.max()}, expected 0 to {MAX_ID}; store unlabelled pixels as"
            f" {IGNORE}, and classes rather than instances"
        )


def _raw_mode(picture: Image.Image) -> str:
    """Returns Pillow's name for how the pixels are stored in the file, such as "L;2" for two bits of grey."""
    tiles = picture.tile if isinstance(picture, ImageFile.ImageFile) else ()
    stored = tiles[0].args if tiles else ""
    return str(stored[0] if isinstance(stored, tuple) else stored)


def id_table(classes: Mapping[int, int], void: Iterable[int] = (), fallback: int = -1) -> Int32[np.ndarray, " ids"]:
    """Makes the table from stored ids (0 to 65535) to class ids.

    Args:
      classes: class id of each stored id.
      void: stored ids that become `IGNORE`.
      fallback: class id of all others; -1: they are refused.
    """
    table = np.full(MAX_ID + 1, fallback, np.int32)
    table[list(void)] = IGNORE
    for stored, class_id in classes.items():
        table[stored] = class_id
    return table


def look_up_ids(
    stored: Integer[np.ndarray, "H W"], table: Int32[np.ndarray, " ids"], name: str
) -> Int32[np.ndarray, "H W"]:
    """Translates the ids of a mask to class ids by a table of `id_table`.

    Raises:
      Unreadable: ids outside of 0 to 65535, or ids that the table refuses; the message lists them.

    Example:
      >>> table = id_table({7: 0, 8: 1}, void=[0])
      >>> look_up_ids(np.array([[0, 7, 8]]), table, "mask.png")
      array([[255,   0,   1]], dtype=int32)
    """
    _check_range(stored, name)
    ids = table[stored]
    if ids.min() < 0:
        wrong = np.unique(stored[ids < 0]).tolist()
        known = np.flatnonzero((table >= 0) & (table != IGNORE))
        shown = ", ".join(map(str, wrong[:20])) + (" ..." if len(wrong) > 20 else "")
        raise Unreadable(
            f"{name} holds class ids {shown} that are not among the {len(known)} classes"
            f" (stored as {known.min()} to {known.max()}) and not void"
        )
    return ids


# ---------------------------------------------------------------- depth
def decode_depth(data: bytes, name: str, scale: float) -> Float32[np.ndarray, "H W"]:
    """Decodes a depth map to metres, 0 where invalid.

    Args:
      data: the file's bytes: an image of one channel (16 bits or floats), or a .npy file.
      name: what to call it in errors.
      scale: metres per stored unit.

    Raises:
      Unreadable: empty, truncated or damaged, or not a depth map.
    """
    if data.startswith(NUMPY_START):
        raw = _load_npy(data, name)
    else:
        picture = open_header(data, name)
        if picture.mode not in ("L", "I", "I;16", "I;16B", "F"):
            raise Unreadable(
                f"{name} is not a depth map (mode {picture.mode}); expected one channel of 16 bits or floats"
            )
        raw = load_pixels(picture, name)
    return metric_depth(raw, name, scale)


def _load_npy(data: bytes, name: str) -> np.ndarray:
    try:
        return np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise Unreadable(f"{name} is a broken .npy file: {first_line(error)}") from error


def metric_depth(raw: Num[np.ndarray, "*shape"], name: str, scale: float) -> Float32[np.ndarray, "H W"]:
    """Converts stored depth [H, W] or [H, W, 1] to metres, 0 where invalid.

    Invalid are 0, negative values, NaN, infinity and, in files of 16 bits, 65535.

    Raises:
      Unreadable: another shape.
    """
    if raw.ndim == 3 and raw.shape[-1] == 1:
        raw = raw[..., 0]
    if raw.ndim != 2:
        raise Unreadable(f"{name} is not a depth map: its shape is {raw.shape}, expected [height, width]")
    saturated = raw == 65535 if raw.dtype in (np.uint16, np.int32) else np.zeros(raw.shape, bool)
    depth = raw.astype(np.float32) * np.float32(scale)
    return np.where(np.isfinite(depth) & (depth > 0) & ~saturated, depth, np.float32(0))
