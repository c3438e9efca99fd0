"""Reads image files by the rule of a prompt: see `hummingbird.incontext.images.to_rgb`."""

from __future__ import annotations

import logging

from hummingbird.data.image_files import decode_image, load_pixels, open_header
from hummingbird.data.interface import Unreadable
from hummingbird.errors import UserError
from hummingbird.incontext.images import STORED, Image, Range, to_rgb

log = logging.getLogger(__name__)


def read_picture(data: bytes, name: str, value_range: Range | None) -> Image:
    """Decodes an image to RGB; of several pages, the first.

    Args:
      data: the file's bytes.
      name: what to call it in errors.
      value_range: black and white; None: the whole range of the type. Images of 8 bits ignore it.

    Raises:
      Unreadable: not an image that can be read, or with values outside of 0 to 1 and no range.
    """
    picture = open_header(data, name)
    if getattr(picture, "n_frames", 1) > 1:
        log.warning("%s has %d pages; only the first is used", name, getattr(picture, "n_frames", 1))
    try:
        if picture.mode not in STORED:
            return decode_image(data, name)
        return to_rgb(load_pixels(picture, name), value_range, name)
    except UserError as error:  # without the advice to change a setting that this command does not have
        raise Unreadable(str(error).partition("; data.lenient")[0]) from error
