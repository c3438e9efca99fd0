"""Prepares images as the public open-hummingbird-eval (v2) does, so that its users can compare numbers.

It differs from the paper in: the crop (a part of the image by area, stretched to the input, after the colour changes),
multiplicative colour factors, void as class 0 in the bank, masks resized by rounding coordinates down, metrics at input
size, a standard deviation of 0.255 for blue, Hungarian matching, absent classes counted as 0. It draws random numbers
from PyTorch, so single images differ; scores agree in distribution.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageEnhance

from hummingbird.data.crops import sample_box
from hummingbird.tasks import Task

AREA = (0.5, 2.0)
LARGEST, PROBABILITY = 0.1, 0.5
BLUE_MEAN, BLUE_STD, ITS_BLUE_STD = 0.406, 0.225, 0.255
ENHANCE = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


def augment(
    rng: np.random.Generator, image: np.ndarray, label: np.ndarray, size: int, task: Task
) -> tuple[np.ndarray, np.ndarray]:
    """Colour changes, then a random part of the image stretched to uint8 [size, size, 3], and its label.

    The part lies within the image: there is no padding that would be void.
    """
    picture = Image.fromarray(image)
    for enhance in ENHANCE:
        if rng.random() < PROBABILITY:
            picture = enhance(picture).enhance(rng.uniform(1 - LARGEST, 1 + LARGEST))
    if rng.random() < PROBABILITY:
        picture = _turn_hue(picture, rng.uniform(-LARGEST, LARGEST))
    left, upper, right, lower = sample_box(rng, picture.width, picture.height, AREA)
    part = picture.resize((size, size), Image.Resampling.BILINEAR, box=(left, upper, right, lower))
    tall, wide = lower - upper, right - left
    rows, columns = upper + floor_nearest(tall, size), left + floor_nearest(wide, size)
    return adapt_blue(np.asarray(part)), task.move(label, rows, columns, (size / tall, size / wide))


def squash(image: np.ndarray, size: int) -> np.ndarray:
    """The whole image resized to uint8 [size, size, 3], bilinear with antialiasing."""
    return adapt_blue(np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)))


def resize_label(label: np.ndarray, size: int, task: Task) -> np.ndarray:
    """The whole label resized to [size, size] by `floor_nearest`."""
    height, width = label.shape[:2]
    rows, columns = floor_nearest(height, size), floor_nearest(width, size)
    return task.move(label, rows, columns, (size / height, size / width))


def floor_nearest(length: int, size: int) -> np.ndarray:
    """For each of `size` pixels over `length` ones, the pixel that its left edge lies in: PyTorch's mode "nearest"."""
    return np.arange(size) * length // size


def adapt_blue(image: np.ndarray) -> np.ndarray:
    """Blue values that an encoder which divides by 0.225 sees as if it divided by 0.255, to half a grey level."""
    mean = 255 * BLUE_MEAN
    table = np.round(mean + (np.arange(256) - mean) * BLUE_STD / ITS_BLUE_STD).astype(np.uint8)
    image = image.copy()
    image[..., 2] = table[image[..., 2]]
    return image


def _turn_hue(picture: Image.Image, turn: float) -> Image.Image:
    hue, saturation, value = picture.convert("HSV").split()
    turned = np.asarray(hue) + np.uint8(int(turn * 255) % 256)  # wraps around
    return Image.merge("HSV", (Image.fromarray(turned), saturation, value)).convert("RGB")
