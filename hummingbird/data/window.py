"""The part of a resized image that an encoder input shows, and where its pixels and patches lie in the original.

One filter resizes everything, prompt and query alike: Pillow's bilinear one, which averages over areas (antialiasing)
along each side that shrinks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int, Shaped, UInt8
from PIL import Image

from hummingbird.tasks import Task
from hummingbird.tasks.patches import Cells

PADDING = (124, 116, 104)  # RGB; ImageNet's mean, so that padding is near zero after the encoder's normalisation


class Side(NamedTuple):
    """One side of a window.

    Attributes:
      length: of the original, pixels.
      resized: to which the whole side is resized, pixels.
      start: number of the resized pixel that the window begins with; negative: padding comes first.
      size: of the window, pixels.
    """

    length: int
    resized: int
    start: int
    size: int

    @property
    def shown(self) -> slice:
        """The pixels of the window that show the image; the others are padding."""
        return slice(max(0, -self.start), min(self.size, self.resized - self.start))

    @property
    def part(self) -> tuple[float, float]:
        """Begin and end of what is shown, in pixels of the original."""
        return tuple(self.positions(np.array((self.shown.start, self.shown.stop))).tolist())

    def positions(self, pixels: Int[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
        """Returns where edges between pixels of the window lie in the original; of padding, at its border."""
        # One correctly rounded division: edges that coincide with those of pixels do so exactly.
        return np.clip((self.start + pixels) * self.length / self.resized, 0, self.length)

    def nearest(self) -> Int[np.ndarray, " n"]:
        """Returns, for each pixel shown, the original one that its centre lies in."""
        number = self.start + np.arange(self.shown.start, self.shown.stop)
        return ((2 * number + 1) * self.length // (2 * self.resized)).astype(np.intp)


class Window(NamedTuple):
    """A rectangle of a resized image, with padding where it reaches beyond it."""

    rows: Side
    columns: Side

    def picture(
        self, image: UInt8[np.ndarray, "H W 3"], change: Callable[[np.ndarray], np.ndarray] = lambda part: part
    ) -> UInt8[np.ndarray, "h w 3"]:
        """Returns what the window shows of an image, in its size, after `change`; padding is `PADDING`."""
        rows, columns = self
        (top, bottom), (left, right) = rows.part, columns.part
        height, width = (side.shown.stop - side.shown.start for side in self)
        resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR, (left, top, right, bottom))
        part = change(np.asarray(resized))
        if (height, width) == (rows.size, columns.size):
            return part
        square = np.empty((rows.size, columns.size, 3), np.uint8)
        square[:] = PADDING
        square[rows.shown, columns.shown] = part
        return square

    def cells(self, patch: int) -> Cells:
        """Returns the patches of the window as cells of the original; `patch` divides the window's sides."""
        rows, columns = (side.positions(np.arange(0, side.size + 1, patch)) for side in self)
        return Cells(rows, columns)

    def canvas(self, patch: int) -> tuple[int, int]:
        """Returns the size, in pixels of the original, of the patches that show some of a whole image."""
        height, width = (round(-(-side.resized // patch) * patch * side.length / side.resized) for side in self)
        return height, width

    def label(self, label: Shaped[np.ndarray, "H W *C"], task: Task) -> Shaped[np.ndarray, "h w *C"]:
        """Resizes a label to the window, each pixel from the nearest original one; padding becomes void."""
        scale = (self.rows.resized / self.rows.length, self.columns.resized / self.columns.length)
        moved = task.move(label, self.rows.nearest(), self.columns.nearest(), scale)
        if moved.shape[:2] == (self.rows.size, self.columns.size):
            return moved
        whole = np.full((self.rows.size, self.columns.size, *label.shape[2:]), task.void, label.dtype)
        whole[self.rows.shown, self.columns.shown] = moved
        return whole


def squashed(height: int, width: int, rows: int, columns: int) -> Window:
    """Returns the window that shows a whole image of height x width pixels, ignoring its aspect.

    Example:
      >>> squashed(4, 6, 2, 2).cells(1).columns.tolist()
      [0.0, 3.0, 6.0]
    """
    return Window(Side(height, rows, 0, rows), Side(width, columns, 0, columns))


def unsquashed(height: int, width: int, shorter: int, step: int, longest: int) -> Window:
    """Returns the window that shows a whole image in its aspect.

    Args:
      height, width: of the image, pixels.
      shorter: to which the shorter side is resized, pixels.
      step: longer sides are padded at their end up to `shorter` and a multiple of this.
      longest: to which a side is resized at most.

    Example:
      >>> window = unsquashed(375, 500, shorter=512, step=128, longest=2048)
      >>> window.rows.size, window.columns.resized, window.columns.size
      (512, 683, 768)
    """
    rows, columns = (min(longest, max(shorter, round(side * shorter / min(height, width)))) for side in (height, width))
    padded = [shorter + step * -(-(side - shorter) // step) for side in (rows, columns)]
    return Window(Side(height, rows, 0, padded[0]), Side(width, columns, 0, padded[1]))
