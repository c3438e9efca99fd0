"""Random resized crops on the host (App. C.1, operation 1), from arrays or straight from encoded files."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from hummingbird.data.image_files import image_size, open_image
from hummingbird.data.views import ViewGroup

Box = tuple[int, int, int, int]  # left, upper, right, lower: pixels, the last two exclusive
MARGIN = 1.5  # an image is decoded smaller only if its crops keep this many pixels per pixel of a view, along a side


def sample_box(
    rng: np.random.Generator,
    width: int,
    height: int,
    area: tuple[float, float] = (0.08, 1.0),
    aspect: tuple[float, float] = (3 / 4, 4 / 3),
) -> Box:
    """Draws a random box: its share of the image's area, its log aspect ratio and its position are uniform.

    If ten boxes in a row do not fit, returns the largest centred box within the range of aspect ratios, as Inception,
    torchvision and BYOL do.

    Args:
      rng: NumPy generator.
      width, height: of the image, pixels.
      area: range of the box's area, as a fraction of the image's.
      aspect: range of width / height.
    """
    log_low, log_high = math.log(aspect[0]), math.log(aspect[1])
    for _ in range(10):
        target = rng.uniform(*area) * width * height
        ratio = math.exp(rng.uniform(log_low, log_high))
        w, h = round(math.sqrt(target * ratio)), round(math.sqrt(target / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, upper = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return left, upper, left + w, upper + h
    ratio = min(max(width / height, aspect[0]), aspect[1])
    w, h = min(width, max(1, round(height * ratio))), min(height, max(1, round(width / ratio)))
    left, upper = (width - w) // 2, (height - h) // 2
    return left, upper, left + w, upper + h


def resize_box(image: Image.Image, box: tuple[float, float, float, float], size: int) -> UInt8[np.ndarray, "S S 3"]:
    """Resizes a box of the image to `size` x `size` pixels, bicubically.

    Pillow's filter (Keys, a = -0.5) widens with the shrinking factor, so it does not alias, unlike OpenCV's INTER_CUBIC
    with its fixed support of four pixels. It reaches across the border of the box into the rest of the image. Boxes
    more than three times too large are first averaged over whole pixels (`reducing_gap`): faster, and different from
    the filter alone by 0.2/255 on average and 6/255 at most on photographs.
    """
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0))[..., :3]


def random_resized_crop(
    rng: np.random.Generator,
    image: UInt8[np.ndarray, "H W 3"],
    size: int,
    area: tuple[float, float] = (0.08, 1.0),
    aspect: tuple[float, float] = (3 / 4, 4 / 3),
) -> UInt8[np.ndarray, "S S 3"]:
    """Cuts a random box and resizes it bicubically with antialiasing (App. C.1, operation 1).

    Args:
      rng: NumPy generator.
      image: RGB.
      size: S, side of the result, pixels.
      area: range of the box's area, as a fraction of the image's.
      aspect: range of width / height, sampled log-uniformly.

    Example:
      >>> rng = np.random.default_rng(0)
      >>> random_resized_crop(rng, np.zeros((60, 80, 3), np.uint8), size=32).shape
      (32, 32, 3)
    """
    picture = Image.fromarray(image)
    return resize_box(picture, sample_box(rng, picture.width, picture.height, area, aspect), size)


def crop_views(
    rng: np.random.Generator,
    image: UInt8[np.ndarray, "H W 3"] | bytes,
    size: int,
    area: tuple[float, float],
    aspect: tuple[float, float],
    name: str = "image",
    lenient: bool = False,
    views: int = 2,
) -> UInt8[np.ndarray, "V S S 3"]:
    """Cuts one group of views; see `crop_groups`.

    Args:
      rng: NumPy generator.
      image: RGB, or an encoded file.
      size, area, aspect: as for `random_resized_crop`.
      name, lenient: as for `image_files.decode_image`.
      views: V, number of crops.

    Raises:
      Unreadable: the file cannot be decoded.
    """
    return crop_groups(rng, image, {"": ViewGroup(views, size, area, aspect)}, name, lenient)[""]


def crop_groups(
    rng: np.random.Generator,
    image: UInt8[np.ndarray, "H W 3"] | bytes,
    groups: Mapping[str, ViewGroup],
    name: str = "image",
    lenient: bool = False,
) -> dict[str, UInt8[np.ndarray, "_ _ _ 3"]]:
    """Cuts random resized crops of several sizes from one image, which is decoded once and no larger than they need.

    An encoded image is decoded at half its size or less where even the smallest box keeps `MARGIN` times the pixels
    that it needs along a side.

    Args:
      rng: NumPy generator; boxes are drawn in the order of the groups.
      image: RGB, or an encoded file.
      groups: what to cut.
      name, lenient: as for `image_files.decode_image`.

    Returns:
      {group: its V views, [V, S, S, 3]}.

    Raises:
      Unreadable: the file cannot be decoded.
    """
    encoded = isinstance(image, bytes)
    width, height = image_size(image, name) if encoded else (image.shape[1], image.shape[0])
    boxes = {
        key: [sample_box(rng, width, height, group.area, group.aspect) for _ in range(1 if group.same else group.count)]
        for key, group in groups.items()
    }
    if encoded:
        reduce = min(
            min(right - left, lower - upper) / (MARGIN * groups[key].size)
            for key, some in boxes.items()
            for left, upper, right, lower in some
        )
        picture = open_image(image, name, reduce=reduce, lenient=lenient)
    else:
        picture = Image.fromarray(image)
    x, y = picture.width / width, picture.height / height
    out = {key: np.empty((group.count, group.size, group.size, 3), np.uint8) for key, group in groups.items()}
    for key, some in boxes.items():
        cut = [resize_box(picture, (l * x, t * y, r * x, b * y), groups[key].size) for l, t, r, b in some]
        out[key][:] = np.stack(cut)  # one for all views if they show the same crop
    return out
