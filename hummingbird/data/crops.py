"""Random resized crops on the host (App. C.1, operation 1), from arrays or straight from encoded files."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from hummingbird.data.image_files import image_size, open_image

Box = tuple[int, int, int, int]  # left, upper, right, lower: pixels, the last two exclusive
MARGIN = 1.5  # pixels on a side of a crop for each pixel of its view that a reduced decoding must leave


def sample_box(
    rng: np.random.Generator,
    width: int,
    height: int,
    area: tuple[float, float] = (0.08, 1.0),
    aspect: tuple[float, float] = (3 / 4, 4 / 3),
) -> Box:
    """A random box: area U[area] of the image, log aspect (width / height) uniform, position uniform.

    Draws again up to ten times while the box does not fit; then takes the largest centred box within the range of
    aspects, as Inception's, torchvision's and BYOL's do.
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


def resize_box(image: Image.Image, box: tuple[float, float, float, float], size: int) -> np.ndarray:
    """The box resized to uint8 [size, size, 3], bicubic.

    Pillow's filter (Keys, a = -0.5) widens with the shrinking factor, so nothing aliases; OpenCV's INTER_CUBIC has a
    fixed support of four pixels and does. The filter reaches over the box's border into the rest of the image. Boxes
    more than three times too large are first averaged over whole pixels (`reducing_gap`): faster, and different from
    the filter alone by 0.2/255 on average and 6/255 at most on photographs.
    """
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0))[..., :3]


def random_resized_crop(
    rng: np.random.Generator,
    image: np.ndarray,
    size: int,
    area: tuple[float, float] = (0.08, 1.0),
    aspect: tuple[float, float] = (3 / 4, 4 / 3),
) -> np.ndarray:
    """A random part of the image, resized bicubically with antialiasing (App. C.1, operation 1).

    Args:
      rng: NumPy generator.
      image: uint8 [H, W, 3].
      size: side of the result, pixels.
      area: range of the part's area, as a fraction of the image's.
      aspect: range of width / height, sampled log-uniformly.

    Returns:
      uint8 [size, size, 3].
    """
    picture = Image.fromarray(image)
    return resize_box(picture, sample_box(rng, picture.width, picture.height, area, aspect), size)


def crop_views(
    rng: np.random.Generator,
    image: np.ndarray | bytes,
    size: int,
    area: tuple[float, float],
    aspect: tuple[float, float],
    name: str = "image",
    lenient: bool = False,
    views: int = 2,
) -> np.ndarray:
    """Several random resized crops of one image, decoded once and no larger than they need: uint8 [views, S, S, 3].

    An encoded image is decoded at a half or less where even the smallest of the boxes keeps `MARGIN` times the pixels
    it needs on a side. Arguments otherwise as those of `random_resized_crop` and `image_files.decode_image`.
    """
    encoded = isinstance(image, bytes)
    width, height = image_size(image, name) if encoded else (image.shape[1], image.shape[0])
    boxes = [sample_box(rng, width, height, area, aspect) for _ in range(views)]
    if encoded:
        narrowest = min(min(right - left, lower - upper) for left, upper, right, lower in boxes)
        picture = open_image(image, name, reduce=narrowest / (MARGIN * size), lenient=lenient)
    else:
        picture = Image.fromarray(image)
    x, y = picture.width / width, picture.height / height
    out = np.empty((views, size, size, 3), np.uint8)
    for view, (left, upper, right, lower) in zip(out, boxes, strict=True):
        view[:] = resize_box(picture, (left * x, upper * y, right * x, lower * y), size)
    return out
