"""Augmentation of annotated prompt images (App. A.2, Table 7); image and label stay aligned to the pixel."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import UInt8

from hummingbird.data.window import Side, Window

JITTERS = ("brightness", "contrast", "saturation", "hue")


def augment_prompt(
    rng: np.random.Generator,
    image: UInt8[np.ndarray, "H W 3"],
    size: int,
    base: tuple[int, int] | None = None,
    scale: tuple[float, float] = (0.5, 2.0),
    probability: float = 0.5,
    largest: float = 0.1,
) -> tuple[UInt8[np.ndarray, "S S 3"], Window]:
    """Scales the image, cuts a random square and jitters its colours (App. A.2, Table 7).

    A scaled image smaller than the square is placed in it at random; the rest is padding, labelled void.

    Args:
      rng: NumPy generator.
      image: RGB.
      size: S, side of the square, pixels.
      base: height and width that a factor of 1 scales the image to; None: its own.
      scale: range of the scaling factor, sampled uniformly.
      probability: probability of each colour operation, independently.
      largest: largest shift of each colour operation, as for `jitter_colours`.

    Returns:
      The square, and which part of the image it shows: `window.label` and `window.cells` move the label with it.
    """
    height, width = image.shape[:2]
    factor = rng.uniform(*scale)
    tall, wide = (max(1, round(side * factor)) for side in base or (height, width))
    rows, columns = Side(height, tall, _start(rng, tall, size), size), Side(width, wide, _start(rng, wide, size), size)
    window = Window(rows, columns)
    shifts = np.where(rng.random(4) < probability, rng.uniform(-largest, largest, 4), 0.0)
    colours = dict(zip(JITTERS, shifts.tolist(), strict=True))
    return window.picture(image, lambda part: jitter_colours(part, **colours)), window


def _start(rng: np.random.Generator, length: int, size: int) -> int:
    """Places a scaled side of `length` against the square's at random: inside of it, or reaching over both ends."""
    return int(rng.integers(min(0, length - size), max(0, length - size) + 1))


def jitter_colours(
    image: UInt8[np.ndarray, "H W 3"],
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
    hue: float = 0.0,
) -> UInt8[np.ndarray, "H W 3"]:
    """Shifts brightness, contrast, saturation and hue in this order, clipping after each; 0 changes nothing.

    Args:
      image: RGB.
      brightness: added to values in [0, 1].
      contrast: maps x to (x - mean) (1 + contrast) + mean, with the mean of each channel.
      saturation: multiplies the HSV saturation by 1 + saturation.
      hue: added to the HSV hue, in turns of the colour circle.
    """
    if brightness or contrast:
        # One table of 256 entries per channel does both; the mean is taken after the brightness shift.
        values = np.clip(np.arange(256) / 255.0 + brightness, 0.0, 1.0)
        pixels = image.shape[0] * image.shape[1]
        table = np.empty((256, 1, 3), np.uint8)
        for channel in range(3):
            counts = cv2.calcHist([image], [channel], None, [256], [0, 256]).reshape(256)
            mean = float(counts.astype(np.float64) @ values) / pixels
            changed = np.clip((values - mean) * (1.0 + contrast) + mean, 0.0, 1.0)
            table[:, 0, channel] = np.round(changed * 255.0)
        image = cv2.LUT(image, table)
    if saturation or hue:
        hsv = cv2.cvtColor(image.astype(np.float32) / 255.0, cv2.COLOR_RGB2HSV)  # hue in degrees, the rest in [0, 1]
        hsv[..., 0] = (hsv[..., 0] + 360.0 * hue) % 360.0
        hsv[..., 1] = np.minimum(hsv[..., 1] * (1.0 + saturation), 1.0)
        image = np.round(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255.0).astype(np.uint8)
    return image
