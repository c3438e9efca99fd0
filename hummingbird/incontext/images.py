"""One rule for images of any kind: `to_rgb` turns each into what an encoder takes, uint8 RGB.

`read_pages` reads the images of a file as they are stored, with 8 or 16 bits or floats, for `to_rgb` to convert.
"""

from __future__ import annotations

import io
import os
import pathlib

import jax
import numpy as np
from jaxtyping import Num, Shaped, UInt8
from PIL import Image as Pillow

from hummingbird.data.image_files import decode_image, load_pixels, open_header
from hummingbird.data.interface import reason
from hummingbird.data.label_files import NUMPY_START
from hummingbird.errors import UserError, first_line

Image = UInt8[np.ndarray, "H W 3"]
Pixels = np.ndarray | Pillow.Image | jax.Array
Range = tuple[float, float]
STORED = ("I", "I;16", "I;16B", "F")  # modes of Pillow that its conversion to RGB would clip
CHANNELS = {1: "grey", 2: "grey and alpha", 3: "RGB", 4: "RGB and alpha"}


def to_rgb(image: Pixels, value_range: Range | None = None, name: str = "image") -> Image:
    """Converts an image to uint8 RGB.

    Values: `value_range` is mapped to 0..255, and what lies outside is clipped. Without one, the whole range of the
    type is: bool 0..1, uint8 0..255 (unchanged), uint16 0..65535, floats 0..1. Other integers need a range. The rule
    does not depend on the image, so that equal values look equal to the encoder in all images of a prompt.
    Channels: grey is repeated, alpha is dropped. Files of several pages are several images (`read_pages`).

    Args:
      image: [H, W] or [H, W, C] of 1 to 4 channels; arrays, Pillow images.
      value_range: black and white, for example (0, 4095) for a camera of 12 bits.
      name: what to call it in errors.

    Raises:
      UserError: another shape, no pixels, NaN or infinite values, floats outside of 0..1, or an integer type without a
        range.

    Example:
      >>> to_rgb(np.array([[0, 65535]], np.uint16)).tolist()
      [[[0, 0, 0], [255, 255, 255]]]
    """
    array = np.asarray(image)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in CHANNELS or not array.size:
        raise UserError(
            f"{name}: its shape is {list(np.asarray(image).shape)}, expected [height, width] or "
            "[height, width, channels] with 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha) channels"
        )
    colours = array[..., : 3 if array.shape[2] > 2 else 1]
    pixels = to_bytes(colours, value_range, name)
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def read_pages(path: str | os.PathLike[str]) -> list[np.ndarray]:
    """Reads all images of a file: the pages of a TIFF, the frames of a GIF, the images of a .npy array [P, H, W, C].

    Returns:
      Arrays [H, W] or [H, W, C] in the type that is stored; 8-bit images of any mode are converted to RGB. Images of a
      single page are turned upright by their EXIF orientation.

    Raises:
      UserError: no such file, or not an image that can be read.
    """
    name = os.fspath(path)
    try:
        data = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{name} cannot be read: {reason(error)}") from error
    if data.startswith(NUMPY_START):
        try:
            array = np.load(io.BytesIO(data), allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise UserError(f"{name} is a broken .npy file: {first_line(error)}") from error
        return list(array) if array.ndim == 4 else [array]
    picture = open_header(data, name)
    count = int(getattr(picture, "n_frames", 1))
    if count == 1 and picture.mode not in STORED:
        return [decode_image(data, name)]
    pages = []
    for number in range(count):
        picture.seek(number)
        shown = picture if picture.mode in STORED else picture.convert("RGB")
        pages.append(load_pixels(shown, name if count == 1 else f"page {number + 1} of {name}"))
    return pages


def to_bytes(values: Shaped[np.ndarray, "H W C"], value_range: Range | None, name: str) -> UInt8[np.ndarray, "H W C"]:
    """Maps values to 0..255 as in `to_rgb`."""
    if values.dtype == np.uint8 and value_range is None:
        return values
    if values.dtype.kind not in "buif":
        raise UserError(f"{name}: its values are {values.dtype}, expected numbers")
    low, high = value_range if value_range is not None else type_range(values, name)
    if not low < high:
        raise UserError(f"value_range: {low:g} to {high:g} is empty; give (black, white) with black < white")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise UserError(f"{name}: it holds NaN or infinite values; replace them first")
    return scale_to_bytes(values, low, high)


def type_range(values: Shaped[np.ndarray, "H W C"], name: str) -> Range:
    """Returns black and white of a type of numbers."""
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind == "f":
        low, high = float(values.min()), float(values.max())
        if low < 0 or high > 1:
            raise UserError(
                f"{name}: its floating-point values are {low:g}..{high:g}, not 0..1; give value_range=(black, white)"
            )
        return 0.0, 1.0
    if kind == "b" or (kind == "u" and size <= 2):
        return 0.0, {"b": 1.0}.get(kind, 255.0 if size == 1 else 65535.0)
    raise UserError(f"{name}: values of type {values.dtype} have no common range; give value_range=(black, white)")


def scale_to_bytes(values: Num[np.ndarray, "H W C"], low: float, high: float) -> UInt8[np.ndarray, "H W C"]:
    """Maps low..high to 0..255 linearly, rounded, with clipping; rows by rows, so that little memory is needed."""
    found = np.empty(values.shape, np.uint8)
    step = max(1, 2**20 // max(1, values[0].size))
    for start in range(0, len(values), step):
        part = (values[start : start + step].astype(np.float32) - low) * np.float32(255 / (high - low))
        found[start : start + step] = np.clip(np.rint(part), 0, 255)
    return found
