"""How whole images are resized and cropped for the encoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from hummingbird.data.image_files import open_image

BICUBIC = Image.Resampling.BICUBIC


@dataclasses.dataclass(frozen=True)
class Preparation:
    """How images become encoder inputs.

    Attributes:
      crop: key of `CROPS`.
      size: side of the input, pixels; a multiple of `patch`.
      patch: of the encoder, pixels.
      fraction: side of the central square, as a share of the shorter side.
      upright: apply the EXIF orientation.
      lenient: accept JPEGs with damage in the middle.
    """

    crop: str
    size: int
    patch: int
    fraction: float = 0.875
    upright: bool = False
    lenient: bool = False

    def __call__(
        self, image: UInt8[np.ndarray, "H W 3"] | bytes, name: str, box: tuple[float, float, float, float] | None = None
    ) -> UInt8[np.ndarray, "h w 3"]:
        """Prepares an image.

        Args:
          image: RGB, or an encoded file.
          name: what to call it in errors.
          box: left, upper, right and lower edge of the part to use, pixels; None: all of it.

        Raises:
          Unreadable: empty, truncated or damaged, or not an image.
        """
        picture = self.decode(image, name)
        return np.asarray(CROPS[self.crop](picture if box is None else cut(picture, box), self))

    def whole(self, image: UInt8[np.ndarray, "H W 3"] | bytes, name: str) -> UInt8[np.ndarray, "H W 3"]:
        """Decodes an image, and prepares nothing."""
        return np.asarray(self.decode(image, name))

    def decode(self, image: UInt8[np.ndarray, "H W 3"] | bytes, name: str) -> Image.Image:
        """Opens an image; arguments as of a call."""
        if isinstance(image, bytes):
            return open_image(image, name, lenient=self.lenient, upright=self.upright).convert("RGB")
        return Image.fromarray(image)


def cut(picture: Image.Image, box: tuple[float, float, float, float]) -> Image.Image:
    """Cuts a box out of an image; the part outside of the image is left out."""
    left, upper, right, lower = (round(edge) for edge in box)
    left, upper = min(max(left, 0), picture.width - 1), min(max(upper, 0), picture.height - 1)
    return picture.crop(
        (left, upper, max(left + 1, min(right, picture.width)), max(upper + 1, min(lower, picture.height)))
    )


def centre(picture: Image.Image, how: Preparation) -> Image.Image:
    """Resizes the shorter side to size / fraction and cuts out the central square, rounded as torchvision rounds."""
    shorter = max(how.size, round(how.size / how.fraction))
    width, height = picture.size
    longer = int(shorter * max(width, height) / min(width, height))
    resized = picture.resize((shorter, longer) if width <= height else (longer, shorter), BICUBIC)
    left, upper = (round((side - how.size) / 2) for side in resized.size)
    return resized.crop((left, upper, left + how.size, upper + how.size))


def squash(picture: Image.Image, how: Preparation) -> Image.Image:
    """Resizes the whole image to a square."""
    return picture if picture.size == (how.size, how.size) else picture.resize((how.size, how.size), BICUBIC)


def aspect(picture: Image.Image, how: Preparation) -> Image.Image:
    """Resizes the longer side to `size`, and the shorter one in proportion, to a multiple of the patch size."""
    scale = how.size / max(picture.size)
    width, height = (max(1, round(side * scale / how.patch)) * how.patch for side in picture.size)
    return picture.resize((width, height), BICUBIC)


CROPS: dict[str, Callable[[Image.Image, Preparation], Image.Image]] = {
    "centre": centre,
    "squash": squash,
    "aspect": aspect,
}
