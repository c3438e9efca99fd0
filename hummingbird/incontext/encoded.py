"""An image with its patch features: encoded once, then a prompt or a query as often as needed."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32
from PIL import Image as Pillow

from hummingbird.data.window import PADDING, Side, Window, squashed, unsquashed
from hummingbird.encoder import Encoder
from hummingbird.errors import UserError
from hummingbird.incontext.images import Image
from hummingbird.retrieval.bank.keys import normalise
from hummingbird.retrieval.encode import boxes, encode_images
from hummingbird.retrieval.protocol import LONGEST
from hummingbird.tasks.patches import Cells


@dataclasses.dataclass(frozen=True)
class View:
    """How images are shown to an encoder.

    Attributes:
      patch_size: of the encoder, pixels.
      input_size: side of the encoder's input, pixels; a multiple of `patch_size`.
      resize: "squash": whole images become squares of that side; "shorter": whole images whose shorter side has that
        length; "none": images keep their size, but for `scale`, and are encoded in overlapping tiles of that side.
      scale: pixels that the encoder gets for a pixel of the image, for resize="none".
    """

    patch_size: int
    input_size: int
    resize: str
    scale: float = 1.0

    def frame(self, height: int, width: int) -> Frame:
        """Returns how an image of this size is shown."""
        return Frame(height, width, self.patch_size, self._window(height, width))

    def _window(self, height: int, width: int) -> Window:
        size, patch = self.input_size, self.patch_size
        if self.resize == "squash":
            return squashed(height, width, size, size)
        if self.resize == "none":
            resized = [max(1, round(side * self.scale)) for side in (height, width)]
            padded = [max(size, -(-side // patch) * patch) for side in resized]
            return Window(Side(height, resized[0], 0, padded[0]), Side(width, resized[1], 0, padded[1]))
        step = patch * max(1, round(size / patch / 4))
        return unsquashed(height, width, size, step, LONGEST * size)


@dataclasses.dataclass(frozen=True)
class Frame:
    """Where the patches of an image lie in it.

    Attributes:
      height, width: of the image, pixels.
      patch_size: of the encoder, pixels.
      window: the part of the resized image that the encoder gets, with padding.
    """

    height: int
    width: int
    patch_size: int
    window: Window

    @functools.cached_property
    def cells(self) -> Cells:
        """The patches as cells of the image."""
        return self.window.cells(self.patch_size)

    @property
    def canvas(self) -> tuple[int, int]:
        """Height and width of the patches that show some of the image, in its pixels."""
        return self.window.canvas(self.patch_size)


@dataclasses.dataclass(frozen=True, eq=False)
class Encoded:
    """An image with the features of its patches; immutable.

    Attributes:
      image: the whole image.
      features: of the patches, row by row, L2-normalised.
      view: how it was shown to the encoder.
      encoder: fingerprint of that.
    """

    image: Image
    features: Float32[np.ndarray, "N D"]
    view: View
    encoder: str

    @functools.cached_property
    def frame(self) -> Frame:
        """Where the patches lie in the image."""
        return self.view.frame(*self.image.shape[:2])


def encode_all(encoder: Encoder, images: Sequence[Image], view: View, name: str, batch_size: int) -> Iterator[Encoded]:
    """Encodes images, a batch at a time.

    Raises:
      UserError: features of a wrong shape, or NaN, infinite or zero ones.
    """
    if view.resize == "none":
        for image in images:
            bands = [band.features for band in encode_bands(encoder, image, view, batch_size)]
            yield Encoded(image, np.concatenate(bands), view, name)
        return
    for start in range(0, len(images), batch_size):
        part = images[start : start + batch_size]
        inputs = [view.frame(*image.shape[:2]).window.picture(image) for image in part]
        size = 1 << (len(part) - 1).bit_length()  # few shapes, few programs to compile
        for image, found in zip(part, encode_images(encoder, inputs, size, None), strict=True):
            yield Encoded(image, unit(found.reshape(-1, found.shape[-1])), view, name)


def unit(features: Float32[np.ndarray, "N D"]) -> Float32[np.ndarray, "N D"]:
    """Returns L2-normalised features. Raises UserError if some are NaN, infinite or zero."""
    units, norms = normalise(features)
    wrong = int((~np.isfinite(norms) | (norms == 0)).sum())
    if wrong:
        raise UserError(
            f"encoder: {wrong} patch features of an image are NaN, infinite or zero; check the checkpoint and its data "
            "type"
        )
    return units


def identity(encoder: Encoder) -> str:
    """Returns an encoder's fingerprint, or its name if it has none."""
    return str(getattr(encoder, "fingerprint", None) or getattr(encoder, "name", type(encoder).__name__))


# ---------------------------------------------------------------- tiles
class Band(NamedTuple):
    """Whole rows of patches of a large image.

    Attributes:
      first: number of its first row of patches.
      features: row by row, L2-normalised.
    """

    first: int
    features: Float32[np.ndarray, "N D"]


def encode_bands(encoder: Encoder, image: Image, view: View, batch_size: int) -> Iterator[Band]:
    """Encodes an image in overlapping tiles, from top to bottom; no more than one row of tiles is in memory.

    Where tiles overlap, features are averaged with weights that fall linearly towards the borders of a tile, where its
    patches have seen little of their surroundings: no seam is left.
    """
    window, patch, side = view.frame(*image.shape[:2]).window, view.patch_size, view.input_size // view.patch_size
    tiles = boxes(window.rows.size, window.columns.size, view.input_size, patch)
    tops, lefts = sorted({top for top, *_ in tiles}), sorted({left for _, left, *_ in tiles})
    across, weights = window.columns.size // patch, tile_weights(side)
    sums: Float32[np.ndarray, "side w D"] | None = None
    counts = np.zeros((side, across, 1), np.float32)
    for top, following in zip(tops, [*tops[1:], window.rows.size], strict=True):
        for start in range(0, len(lefts), batch_size):
            part = lefts[start : start + batch_size]
            inputs = [tile_picture(image, window, top, left, view.input_size) for left in part]
            for left, found in zip(part, encode_images(encoder, inputs, batch_size, None), strict=True):
                if sums is None:
                    sums = np.zeros((side, across, found.shape[-1]), np.float32)
                place = slice(left // patch, left // patch + side)
                sums[:, place] += weights * found
                counts[:, place] += weights
        assert sums is not None
        done = (following - top) // patch
        features = sums[:done] / counts[:done]
        yield Band(top // patch, unit(features.reshape(-1, features.shape[-1])))
        for array in (sums, counts):
            array[: side - done] = array[done:].copy()
            array[side - done :] = 0


def tile_weights(side: int) -> Float32[np.ndarray, "side side 1"]:
    """Returns the weight of each patch of a tile: 1 in the middle third, falling linearly towards the borders."""
    place = np.arange(side) + 0.5
    ramp = np.minimum(1, np.minimum(place, side - place) / max(1, side / 3))
    return np.outer(ramp, ramp).astype(np.float32)[..., None]


def tile_picture(image: Image, window: Window, top: int, left: int, size: int) -> Image:
    """Returns a square of a resized and padded image, of which only what is needed is resized."""
    rows, columns = window.rows._replace(start=top, size=size), window.columns._replace(start=left, size=size)
    tile = np.empty((size, size, 3), np.uint8)
    tile[:] = PADDING
    (t, b), (l, r) = rows.part, columns.part
    down, right = (-(-side.length // side.resized) + 1 for side in (rows, columns))  # reach of the filter
    t0, l0 = max(0, int(t) - down), max(0, int(l) - right)
    part = image[t0 : int(b) + down + 1, l0 : int(r) + right + 1]
    height, width = (side.shown.stop - side.shown.start for side in (rows, columns))
    box = (l - l0, t - t0, r - l0, b - t0)
    shown = Pillow.fromarray(part).resize((width, height), Pillow.Resampling.BILINEAR, box)
    tile[rows.shown, columns.shown] = np.asarray(shown)
    return tile
