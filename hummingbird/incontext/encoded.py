"""An image with its patch features: encoded once, then a prompt or a query as often as needed."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float32

from hummingbird.data.window import Window, squashed, unsquashed
from hummingbird.encoder import Encoder
from hummingbird.errors import UserError
from hummingbird.incontext.images import Image
from hummingbird.retrieval.bank.keys import normalise
from hummingbird.retrieval.encode import encode_images
from hummingbird.retrieval.protocol import LONGEST
from hummingbird.tasks.patches import Cells


@dataclasses.dataclass(frozen=True)
class View:
    """How images are shown to an encoder.

    Attributes:
      patch_size: of the encoder, pixels.
      input_size: side of the encoder's input, pixels; a multiple of `patch_size`.
      resize: "squash": whole images become squares of that side; "shorter": whole images whose shorter side has that
        length.
    """

    patch_size: int
    input_size: int
    resize: str

    def window(self, height: int, width: int) -> Window:
        """Returns how an image of this size is shown."""
        size, patch = self.input_size, self.patch_size
        if self.resize == "squash":
            return squashed(height, width, size, size)
        step = patch * max(1, round(size / patch / 4))
        return unsquashed(height, width, size, step, LONGEST * size)


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

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image, pixels."""
        return self.image.shape[0], self.image.shape[1]

    @functools.cached_property
    def window(self) -> Window:
        """The part of the resized image that the encoder got, with padding."""
        return self.view.window(*self.size)

    @functools.cached_property
    def cells(self) -> Cells:
        """The patches as cells of the image."""
        return self.window.cells(self.view.patch_size)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return len(self.cells.rows) - 1, len(self.cells.columns) - 1

    @property
    def shown(self) -> tuple[int, int]:
        """Rows and columns of patches that show some of the image; those of padding follow."""
        return int(np.count_nonzero(np.diff(self.cells.rows))), int(np.count_nonzero(np.diff(self.cells.columns)))

    @property
    def canvas(self) -> tuple[int, int]:
        """Height and width of the patches that show some of the image, in its pixels."""
        return self.window.canvas(self.view.patch_size)

    def inside(self) -> Bool[np.ndarray, " N"]:
        """Returns which patches show some of the image."""
        return self.cells.areas > 0


def encode_all(encoder: Encoder, images: Sequence[Image], view: View, name: str, batch_size: int) -> Iterator[Encoded]:
    """Encodes images, a batch at a time.

    Raises:
      UserError: features of a wrong shape, or NaN, infinite or zero ones.
    """
    for start in range(0, len(images), batch_size):
        part = images[start : start + batch_size]
        inputs = [view.window(*image.shape[:2]).picture(image) for image in part]
        size = 1 << (len(part) - 1).bit_length()  # few shapes, few programs to compile
        for image, found in zip(part, encode_images(encoder, inputs, size, None), strict=True):
            units, norms = normalise(found.reshape(-1, found.shape[-1]))
            wrong = ~np.isfinite(norms) | (norms == 0)
            if wrong.any():
                raise UserError(
                    f"encoder: {int(wrong.sum())} patch features of an image are NaN, infinite or zero; check the "
                    "checkpoint and its data type"
                )
            yield Encoded(image, units, view, name)
