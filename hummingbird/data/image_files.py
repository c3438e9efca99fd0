"""Encoded images to RGB arrays; broken files are refused by name.

JPEG goes through libjpeg-turbo by `simplejpeg`: of the common readers only it reports damage in the middle of a file,
and it decodes at a fraction of the size. Everything else goes through Pillow.
"""

from __future__ import annotations

import functools
import io
import math
import re
import struct

import numpy as np
import simplejpeg
from jaxtyping import UInt8
from PIL import Image, ImageOps

from hummingbird.data.interface import Unreadable
from hummingbird.errors import first_line

ORIENTATION = 0x0112  # EXIF tag
UPRIGHT, SIDEWAYS = 1, 5  # its value for images that are stored upright; from 5 on, width and height are swapped
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".jp2", ".ppm", ".pgm")
JPEG_START = b"\xff\xd8\xff"
JPEG_END = b"\xff\xd9"
STRAY = 7  # bytes between picture and end that libjpeg may report
JFIF_VERSION = b"\x01\x02"
PNG_START = b"\x89PNG\r\n\x1a\n"
# PNG chunks without effect on the pixels, in which Pillow refuses more than 1 MB: text and colour profiles.
PNG_TEXT = (b"iCCP", b"iTXt", b"tEXt", b"zTXt")
# What version control leaves in place of a file that has not been downloaded.
POINTERS = {b"version https://git-lfs": "Git LFS pointer (git lfs pull)", b"/annex/objects/": "git-annex pointer"}


def decode_image(data: bytes, name: str, lenient: bool = False, upright: bool = True) -> UInt8[np.ndarray, "H W 3"]:
    """Decodes an image to RGB.

    Grey is repeated, palettes are looked up, alpha is dropped, CMYK is converted, of 16 bits the upper 8 are kept.

    Args:
      data: the file's bytes.
      name: what to call it in errors.
      lenient: accept a JPEG with damage in the middle as far as it decodes.
      upright: apply the EXIF orientation.

    Raises:
      Unreadable: empty, truncated or damaged, or not an image.
    """
    picture = open_image(data, name, lenient=lenient, upright=upright)
    return np.ascontiguousarray(np.asarray(picture)[..., :3])


def image_size(data: bytes, name: str, upright: bool = True) -> tuple[int, int]:
    """Returns (width, height) of an encoded image from its header; `upright` as in `decode_image`."""
    if data.startswith(JPEG_START) and not _has_exif(data):
        height, width, _ = _jpeg_header(data, name)
        return width, height
    picture = open_header(data, name)
    turned = upright and _orientation(picture) >= SIDEWAYS
    return (picture.height, picture.width) if turned else picture.size


def exif_orientation(data: bytes, name: str) -> int:
    """Returns the EXIF orientation of an encoded image, 1 to 8; `UPRIGHT` if it has none."""
    if data.startswith(JPEG_START) and not _has_exif(data):
        return UPRIGHT
    return _orientation(open_header(data, name))


def open_image(data: bytes, name: str, reduce: float = 1.0, lenient: bool = False, upright: bool = True) -> Image.Image:
    """Decodes an image as `decode_image` does, to a Pillow image of mode RGB or RGBX.

    Args:
      reduce: decode a JPEG at up to this factor smaller, where libjpeg can skip the work: by 2, 8/3, 4 or 8.
    """
    if not data.startswith(JPEG_START):
        return _to_rgb(open_header(data, name), name, upright)
    height, width, colours = _jpeg_header(data, name)
    smallest = (math.ceil(height / reduce), math.ceil(width / reduce)) if reduce >= 2 else (0, 0)
    if colours not in ("YCbCr", "Gray", "RGB"):
        return _to_rgb(open_header(data, name), name, upright)  # CMYK: Pillow knows that Adobe writes it inverted
    try:
        pixels = _decode_jpeg(data, smallest, lenient)
    except ValueError as error:
        hint = "" if lenient else "; data.lenient=true accepts such images as far as they decode"
        raise Unreadable(f"{name} is a damaged JPEG: {first_line(error)}{hint}") from error
    # frombuffer does not copy four bytes per pixel, the layout in which Pillow works
    picture = Image.frombuffer("RGBX", (pixels.shape[1], pixels.shape[0]), pixels, "raw", "RGBX", 0, 1)
    return _turn(picture, open_header(data, name)) if upright and _has_exif(data) else picture


def _decode_jpeg(data: bytes, smallest: tuple[int, int], lenient: bool) -> UInt8[np.ndarray, "H W 4"]:
    """Decodes a JPEG at no less than `smallest` (height, width); raises ValueError where libjpeg reports damage.

    Some reports do not mean damage: a few stray bytes before the end, a missing end marker, odd version numbers. On 60
    photographs of ImageNet, damaged in 360 ways (a bit, 64 zeroed bytes, up to 512 missing), damage never left fewer
    than 8 stray bytes.
    """
    decode = functools.partial(
        simplejpeg.decode_jpeg, colorspace="RGBX", min_height=smallest[0], min_width=smallest[1], min_factor=2
    )
    marked = JPEG_END in data[-4096:]
    try:
        pixels = decode(data, strict=not (lenient and marked))
    except ValueError as error:
        message = str(error)
        stray = re.search(r"(\d+) extraneous bytes before marker 0xd9", message)
        if not marked:
            try:
                pixels = decode(data + JPEG_END, strict=True)
            except ValueError:
                raise ValueError("it is truncated") from error
        elif stray and int(stray[1]) <= STRAY:
            end = data.rindex(JPEG_END)
            pixels = decode(data[: end - int(stray[1])] + data[end:], strict=True)
        elif "unknown JFIF revision" in message and data[6:10] == b"JFIF":
            pixels = decode(data[:11] + JFIF_VERSION + data[13:], strict=True)
        else:
            raise
    return pixels


def open_header(data: bytes, name: str) -> Image.Image:
    """Opens an image with Pillow without decoding its pixels. Raises Unreadable."""
    if not data:
        raise Unreadable(f"{name} is empty (0 bytes)")
    try:
        return Image.open(io.BytesIO(_without_text(data) if data.startswith(PNG_START) else data))
    except Image.DecompressionBombError as error:
        raise Unreadable(f"{name} is too large to be an image: {error}") from error
    except Exception as error:  # Pillow's plugins raise exceptions of any type on broken headers
        pointer = next((what for start, what in POINTERS.items() if data.startswith(start)), "")
        found = f"it is a {pointer}, not the file itself" if pointer else f"it begins with {data[:8]!r}"
        raise Unreadable(f"{name} is not an image that can be read: {found}") from error


def load_pixels(picture: Image.Image, name: str) -> np.ndarray:
    """Decodes an opened image to the array that Pillow makes of it. Raises Unreadable."""
    try:
        return np.asarray(picture)
    except Exception as error:
        raise Unreadable(f"{name} is a broken {picture.format}: {first_line(error)}") from error


def _without_text(data: bytes) -> bytes:
    """Drops the chunks of a PNG file that hold text or a colour profile."""
    kept, start, position = [], 0, len(PNG_START)  # everything before `start` is in `kept`, or dropped
    while position + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[position : position + 8])
        end = position + length + 12  # length, kind and checksum take 4 bytes each
        if kind in PNG_TEXT:
            kept.append(data[start:position])
            start = end
        position = end
    return b"".join([*kept, data[start:]]) if kept else data


def _jpeg_header(data: bytes, name: str) -> tuple[int, int, str]:
    """Returns (height, width, colour space) of a JPEG as it is stored."""
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    except (ValueError, KeyError) as error:
        raise Unreadable(f"{name} is a broken JPEG: its header cannot be read") from error
    return int(height), int(width), str(colours)


def _orientation(header: Image.Image) -> int:
    try:
        orientation = int(header.getexif().get(ORIENTATION, UPRIGHT))
    except Exception:  # EXIF data are free-form, and broken ones do not make the image unreadable
        return UPRIGHT
    return orientation if 1 <= orientation <= 8 else UPRIGHT


def _has_exif(data: bytes) -> bool:
    return data.find(b"Exif\x00\x00", 0, 65536) >= 0


def _to_rgb(picture: Image.Image, name: str, upright: bool) -> Image.Image:
    if picture.mode.startswith("I"):  # 16 bits; convert("RGB") would clip them to 255
        values = load_pixels(picture, name)
        if values.min() < 0 or values.max() > 65535:
            raise Unreadable(f"{name} has values outside of 16 bits")
        decoded = Image.fromarray((values >> 8).astype(np.uint8))
    elif picture.mode == "F":
        raise Unreadable(f"{name} holds floating-point values of unknown range; store images with 8 or 16 bits")
    else:
        try:
            picture.load()
        except Exception as error:
            raise Unreadable(f"{name} is a broken {picture.format}: {first_line(error)}") from error
        decoded = picture.convert("RGBA") if "transparency" in picture.info else picture
    return (_turn(decoded, picture) if upright else decoded).convert("RGB")


def _turn(pixels: Image.Image, header: Image.Image) -> Image.Image:
    """Turns `pixels` by the EXIF orientation of `header`."""
    orientation = _orientation(header)
    if orientation == UPRIGHT:
        return pixels
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    pixels = pixels.convert("RGB") if pixels.mode == "RGBX" else pixels.copy()
    pixels.info["exif"] = exif.tobytes()
    return ImageOps.exif_transpose(pixels) or pixels
