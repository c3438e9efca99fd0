"""Reads image files by the rule of a prompt: see `hummingbird.incontext.images.to_rgb`."""

from __future__ import annotations

import fractions
import logging
import pathlib
from collections.abc import Iterator

from hummingbird.data.image_files import decode_image, load_pixels, open_header
from hummingbird.data.interface import Unreadable, reason
from hummingbird.data.names import printable
from hummingbird.errors import UserError
from hummingbird.incontext.images import STORED, Image, Range, to_rgb
from hummingbird.incontext.segment.video import Frame

log = logging.getLogger(__name__)


class Pages:
    """A file of several pages, which is labelled as a video without times.

    Args:
      path: of the file.
      value_range: as in `read_picture`.

    Attributes:
      length: number of pages.
      damaged: pages that could not be decoded when they were last read.
      time_base, has_sound: as in `Video`.

    Raises:
      Unreadable: it cannot be read.
    """

    time_base, has_sound = fractions.Fraction(1), False

    def __init__(self, path: str, value_range: Range | None):
        self._name, self._range, self.damaged = printable(path), value_range, 0
        try:
            self._data = pathlib.Path(path).read_bytes()
        except OSError as error:
            raise Unreadable(f"{self._name} cannot be read: {reason(error)}") from error
        self.length = int(getattr(open_header(self._data, self._name), "n_frames", 1))

    def frames(self) -> Iterator[Frame]:
        """Decodes the pages; those that cannot be read are left out and counted."""
        picture, self.damaged = open_header(self._data, self._name), 0
        for number in range(self.length):
            try:
                picture.seek(number)
                shown = picture if picture.mode in STORED else picture.convert("RGB")
                pixels = load_pixels(shown, self._name)
            except (Unreadable, OSError, EOFError, SyntaxError, ValueError):
                self.damaged += 1
                continue
            yield Frame(number, number, to_rgb(pixels, self._range, f"page {number + 1} of {self._name}"))


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
