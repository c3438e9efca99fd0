"""The views of an image that DINO's and SimCLR's gradients compare (Table 17): a function of the image and a seed."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from hummingbird.config.features import Variant
from hummingbird.data.crops import random_resized_crop

GLOBAL, LOCAL = 2, 10
GLOBAL_AREA, LOCAL_AREA = (0.25, 1.0), (0.05, 0.25)
# Patches of half the image's side, a sixth of their own side apart (App. B): 0, 18, ..., 108 of 224 pixels.
SIDE, STEPS = 2, 6
# Operations of DINO's colour jitter, and how far their factors are from 1.
JITTER = {
    "brightness": (ImageEnhance.Brightness, 0.4),
    "contrast": (ImageEnhance.Contrast, 0.4),
    "saturation": (ImageEnhance.Color, 0.2),
}

Picture = UInt8[np.ndarray, "H W 3"]
Views = UInt8[np.ndarray, "V S S 3"]


def image_id(image: Picture) -> int:
    """Returns a checksum of an image's pixels: what its random numbers are drawn by if it has no other number."""
    return zlib.crc32(np.ascontiguousarray(image).data, zlib.crc32(str(image.shape).encode()))


def image_ids(images: Sequence[Picture], ids: Sequence[int] | None) -> list[int]:
    """Returns the ids of images, by their content where none are given."""
    return [image_id(image) for image in images] if ids is None else [int(i) & 0xFFFFFFFF for i in ids]


def resized(image: Picture, size: int) -> UInt8[np.ndarray, "S S 3"]:
    """Squashes an image to a square, bicubically."""
    if image.shape[:2] == (size, size):
        return image
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))


def dino_views(image: Picture, size: int, seed: int, number: int) -> Views:
    """Cuts 2 global and 10 local crops without any other augmentation, all resized to `size` (Tables 15 and 17).

    Args:
      image: of any size.
      size: S, side of a view.
      seed: of all images.
      number: of this image.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, number, zlib.crc32(b"dino")]))
    areas = [GLOBAL_AREA] * GLOBAL + [LOCAL_AREA] * LOCAL
    return np.stack([random_resized_crop(rng, image, size, area) for area in areas])


def simclr_views(image: Picture, size: int, seed: int = 0, number: int = 0) -> Views:
    """Cuts 7 x 7 overlapping squares of half the side, resized to `size` bicubically (App. B).

    The image is squashed to `size` first. With 224 pixels, the last four rows and columns are in no square, as in the
    public code. Nothing is drawn: `seed` and `number` are not used.
    """
    whole, side = resized(image, size), size // SIDE
    starts = range(0, size - side + 1, max(1, side // STEPS))
    return np.stack([resized(whole[y : y + side, x : x + side], size) for y in starts for x in starts])


def single_view(image: Picture, size: int, seed: int = 0, number: int = 0) -> Views:
    """Returns the image alone, as the caller prepared it."""
    return image[None]


def dino_policy(rng: np.random.Generator, view: Picture, number: int) -> Picture:
    """Applies what DINO does beside its crops: flip, colour jitter, grey, blur, and solarisation of the second view.

    Probabilities and strengths are those of DINO's training (Caron et al., 2021); operations are Pillow's.

    Args:
      rng: NumPy generator.
      view: a crop.
      number: of the view: 0 and 1 are the global ones.
    """
    image = Image.fromarray(view)
    if rng.random() < 0.5:
        image = ImageOps.mirror(image)
    if rng.random() < 0.8:
        for name in rng.permutation([*JITTER, "hue"]):
            if name == "hue":
                hue, *rest = image.convert("HSV").split()
                turn = round(256 * rng.uniform(-0.1, 0.1))
                image = Image.merge("HSV", [hue.point(lambda x, turn=turn: (x + turn) % 256), *rest]).convert("RGB")
            else:
                kind, most = JITTER[name]
                image = kind(image).enhance(rng.uniform(1 - most, 1 + most))
    if rng.random() < 0.2:
        image = ImageOps.grayscale(image).convert("RGB")
    if rng.random() < (1.0, 0.1, 0.5)[min(number, GLOBAL)]:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.1, 2.0)))
    if number == 1 and rng.random() < 0.2:
        image = ImageOps.solarize(image)
    return np.asarray(image)


def view_of(name: str, variant: Variant, image: Picture, size: int, seed: int, number: int) -> Views:
    """Returns the views of an image for an objective, with DINO's augmentation where the variant says so."""
    views = VIEWS[name](image, size, seed, number)
    if name != "dino" or variant.augmentation == "crops":
        return views
    rng = np.random.default_rng(np.random.SeedSequence([seed, number, zlib.crc32(b"dino policy")]))
    return np.stack([dino_policy(rng, view, i) for i, view in enumerate(views)])


VIEWS: dict[str, Callable[[Picture, int, int, int], Views]] = {
    "kl": single_view,
    "dino": dino_views,
    "simclr": simclr_views,
}
