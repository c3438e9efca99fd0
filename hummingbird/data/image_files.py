"""Files to arrays: images of any common kind to RGB, masks to class ids, depth to metres; broken ones are refused.

JPEG goes through libjpeg-turbo by `simplejpeg`, which alone of the usual readers reports a damaged middle; it also
decodes at a fraction of the size. Everything else goes through Pillow.
"""

from __future__ import annotations

import io
import math

import numpy as np
import simplejpeg
from PIL import Image, ImageOps

from hummingbird.errors import UserError, first_line

ORIENTATION = 0x0112  # EXIF tag
JPEG_START = b"\xff\xd8\xff"


class Unreadable(UserError):
    """A file that holds no usable image, mask or depth; the text names it and says what is wrong."""


def decode_image(data: bytes, name: str, lenient: bool = False) -> np.ndarray:
    """An encoded image, upright (EXIF orientation applied), uint8 [H, W, 3] RGB.

    Greyscale is repeated, palettes are looked up, alpha is dropped, CMYK is converted, 16 bits are cut to the upper 8.

    Args:
      data: the file's bytes.
      name: what to call it in errors.
      lenient: take a JPEG with a damaged middle as it decodes.

    Raises:
      Unreadable: empty, truncated, damaged, or no image.
    """
    picture = open_image(data, name, lenient=lenient)
    return np.ascontiguousarray(np.asarray(picture)[..., :3])


def image_size(data: bytes, name: str) -> tuple[int, int]:
    """(width, height) of an encoded image when upright, from its header alone."""
    if data.startswith(JPEG_START) and not _has_exif(data):
        height, width, _ = _jpeg_header(data, name)
        return width, height
    picture = _open(data, name)
    turned = _orientation(picture) >= 5
    return (picture.height, picture.width) if turned else picture.size


def open_image(data: bytes, name: str, reduce: float = 1.0, lenient: bool = False) -> Image.Image:
    """As `decode_image`, but a Pillow image of mode RGB or RGBX, by a factor of up to `reduce` smaller.

    Only JPEG is reduced, and only where libjpeg can leave out the work: by 2, 8/3, 4 or 8.
    """
    if not data.startswith(JPEG_START):
        return _to_rgb(_open(data, name), name)
    height, width, colours = _jpeg_header(data, name)
    smallest = (math.ceil(height / reduce), math.ceil(width / reduce)) if reduce >= 2 else (0, 0)
    if colours not in ("YCbCr", "Gray", "RGB"):
        return _to_rgb(_open(data, name), name)  # CMYK: Pillow knows that Adobe writes it inverted
    try:
        pixels = simplejpeg.decode_jpeg(
            data,
            "RGBX",
            min_height=smallest[0],
            min_width=smallest[1],
            min_factor=2,
            strict=not lenient,
        )
    except ValueError as error:
        hint = "" if lenient else "; data.lenient=true takes such images as they decode"
        raise Unreadable(f"{name} is a damaged JPEG: {first_line(error)}{hint}") from error
    if lenient and b"\xff\xd9" not in data[-4096:]:
        raise Unreadable(f"{name} is a truncated JPEG")
    # frombuffer makes no copy of four bytes a pixel, the layout in which Pillow works
    picture = Image.frombuffer("RGBX", (pixels.shape[1], pixels.shape[0]), pixels, "raw", "RGBX", 0, 1)
    return _upright(picture, _open(data, name)) if _has_exif(data) else picture


def decode_ids(data: bytes, name: str) -> np.ndarray:
    """The class ids of an encoded mask as they are stored, uint8 or uint16 or int32 [H, W].

    Raises:
      Unreadable: as `decode_image`, or a mask in colours, or one with fractional values.
    """
    picture = _open(data, name)
    if picture.format == "JPEG":
        raise Unreadable(f"{name} is a JPEG, whose compression changes class ids; store masks as PNG")
    if picture.mode not in ("P", "L", "1", "I", "I;16", "I;16B"):
        raise Unreadable(
            f"{name} is a mask in colours (mode {picture.mode}) where class ids are expected;"
            " store ids as greyscale or palette PNG"
        )
    ids = _load(picture, name)
    return ids.astype(np.uint8) if ids.dtype == bool else ids


def decode_depth(data: bytes, name: str, scale: float) -> np.ndarray:
    """An encoded depth map (or a .npy file) times `scale`: float32 [H, W] metres, 0 where invalid.

    Invalid are 0, negative values, NaN, infinity and, in 16-bit files, 65535.
    """
    if data.startswith(b"\x93NUMPY"):
        try:
            raw = np.load(io.BytesIO(data), allow_pickle=False)
        except ValueError as error:
            raise Unreadable(f"{name} is a broken .npy file: {error}") from error
    else:
        picture = _open(data, name)
        if picture.mode not in ("L", "I", "I;16", "I;16B", "F"):
            raise Unreadable(f"{name} is no depth map (mode {picture.mode}); expected one channel of 16 bits or floats")
        raw = _load(picture, name)
    return metric_depth(raw, name, scale)


def metric_depth(raw: np.ndarray, name: str, scale: float) -> np.ndarray:
    """Raw depth values [H, W] as float32 metres, 0 where invalid; see `decode_depth`."""
    if raw.ndim == 3 and raw.shape[-1] == 1:
        raw = raw[..., 0]
    if raw.ndim != 2:
        raise Unreadable(f"{name} is no depth map: its shape is {raw.shape}, expected [height, width]")
    saturated = raw == 65535 if raw.dtype in (np.uint16, np.int32) else np.zeros(raw.shape, bool)
    depth = raw.astype(np.float32) * np.float32(scale)
    return np.where(np.isfinite(depth) & (depth > 0) & ~saturated, depth, np.float32(0))


def _jpeg_header(data: bytes, name: str) -> tuple[int, int, str]:
    """(height, width, colours) of a JPEG as it is stored."""
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    except (ValueError, KeyError) as error:
        raise Unreadable(f"{name} is a broken JPEG: its header cannot be read") from error
    return int(height), int(width), str(colours)


def _has_exif(data: bytes) -> bool:
    return data.find(b"Exif\x00\x00", 0, 65536) >= 0


def _orientation(picture: Image.Image) -> int:
    try:
        return picture.getexif().get(ORIENTATION, 1)
    except Exception:  # EXIF data are free-form; broken ones say nothing about the image
        return 1


def _open(data: bytes, name: str) -> Image.Image:
    if not data:
        raise Unreadable(f"{name} is empty (0 bytes)")
    try:
        return Image.open(io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise Unreadable(f"{name} is too large to be an image: {error}") from error
    except Exception as error:  # Pillow's plugins raise what they like on broken headers
        raise Unreadable(f"{name} is no image that can be read: it begins with {data[:8]!r}") from error


def _load(picture: Image.Image, name: str) -> np.ndarray:
    try:
        return np.asarray(picture)
    except Exception as error:
        raise Unreadable(f"{name} is a broken {picture.format}: {first_line(error)}") from error


def _to_rgb(picture: Image.Image, name: str) -> Image.Image:
    if picture.mode.startswith("I"):  # 16 bits; convert("RGB") would clip them to 255
        values = _load(picture, name)
        if values.min() < 0 or values.max() > 65535:
            raise Unreadable(f"{name} has values outside of 16 bits")
        upright = _upright(Image.fromarray((values >> 8).astype(np.uint8)), picture)
    elif picture.mode == "F":
        raise Unreadable(f"{name} holds floating-point values, whose range is unknown; store images with 8 or 16 bits")
    else:
        try:
            picture.load()
        except Exception as error:
            raise Unreadable(f"{name} is a broken {picture.format}: {first_line(error)}") from error
        upright = _upright(picture.convert("RGBA") if "transparency" in picture.info else picture, picture)
    return upright.convert("RGB")


def _upright(pixels: Image.Image, header: Image.Image) -> Image.Image:
    """`pixels` turned as the EXIF orientation of `header` says."""
    orientation = _orientation(header)
    if orientation == 1:
        return pixels
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    pixels = pixels.convert("RGB") if pixels.mode == "RGBX" else pixels.copy()
    pixels.info["exif"] = exif.tobytes()
    return ImageOps.exif_transpose(pixels) or pixels
