"""Prepares images as the public open-hummingbird-eval (v2) does, so that its users can compare numbers.

It differs from the paper in: the crop (a part of the image by area, stretched to the input, after the colour changes),
multiplicative colour factors, void as class 0 in the bank (on ADE20K as a class of its own, the 151st, which counts 0
in the mean), masks resized by rounding coordinates down, metrics at input size, a standard deviation of 0.255 for blue,
Hungarian matching, absent classes counted as 0. It draws random numbers from PyTorch, so single images differ; scores
agree in distribution.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import UInt8
from numpy.typing import ArrayLike
from PIL import Image, ImageEnhance

from hummingbird.data.crops import sample_box
from hummingbird.encoder import Encoder
from hummingbird.models.frozen import FrozenEncoder
from hummingbird.tasks import Task

AREA = (0.5, 2.0)
LARGEST, PROBABILITY = 0.1, 0.5
BLUE_MEAN, BLUE_STD, ITS_BLUE_STD = 0.406, 0.225, 0.255  # ImageNet's, and what that project divides by
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
    # Cut first: as with tensors, no pixel outside of the part counts at its edges.
    part = picture.crop((left, upper, right, lower)).resize((size, size), Image.Resampling.BILINEAR)
    tall, wide = lower - upper, right - left
    rows, columns = upper + floor_nearest(tall, size), left + floor_nearest(wide, size)
    return np.asarray(part), task.move(label, rows, columns, (size / tall, size / wide))


def squash(image: np.ndarray, size: int) -> np.ndarray:
    """The whole image resized to uint8 [size, size, 3], bilinear with antialiasing."""
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


def resize_label(label: np.ndarray, size: int, task: Task) -> np.ndarray:
    """The whole label resized to [size, size] by `floor_nearest`."""
    height, width = label.shape[:2]
    rows, columns = floor_nearest(height, size), floor_nearest(width, size)
    return task.move(label, rows, columns, (size / height, size / width))


def floor_nearest(length: int, size: int) -> np.ndarray:
    """For each of `size` pixels over `length` ones, the pixel that its left edge lies in: PyTorch's mode "nearest"."""
    return np.arange(size) * length // size


# ---------------------------------------------------------------- blue
def with_its_blue(encoder: Encoder) -> tuple[Encoder, str]:
    """Returns an encoder that divides blue by 0.255 if it divides by 0.225 itself, else the encoder as it is.

    That project normalises the images of every encoder in this way. Encoders with statistics of their own keep them.

    Returns:
      The encoder, and how its blue is divided: "exact", "8 bits" (in the images, for encoders that are not ours),
      "own" (other statistics) or "unknown" (no attribute `std`).
    """
    std = getattr(encoder, "std", None)
    if std is None:
        return encoder, "own" if isinstance(encoder, FrozenEncoder) else "unknown"
    if abs(std[2] - BLUE_STD) > 5e-4:
        return encoder, "own"
    if isinstance(encoder, FrozenEncoder):
        backbone = encoder.backbone.with_std((std[0], std[1], ITS_BLUE_STD))
        return dataclasses.replace(encoder, backbone=backbone), "exact"
    return AdaptedBlue(encoder), "8 bits"


class AdaptedBlue:
    """An encoder that gets images with adapted blue values; all else is the encoder's."""

    def __init__(self, encoder: Encoder):
        self.encoder, self.patch_size = encoder, encoder.patch_size

    def __call__(self, images: UInt8[np.ndarray, "B H W 3"], /) -> ArrayLike:
        return self.encoder(adapt_blue(images))

    def __getattr__(self, name: str) -> object:
        return getattr(self.encoder, name)


def adapt_blue(image: UInt8[np.ndarray, "*B H W 3"]) -> UInt8[np.ndarray, "*B H W 3"]:
    """Rescales blue for an encoder that divides by 0.225 so that it acts as if it divided by 0.255, to half a level."""
    mean = 255 * BLUE_MEAN
    table = np.round(mean + (np.arange(256) - mean) * BLUE_STD / ITS_BLUE_STD).astype(np.uint8)
    image = image.copy()
    image[..., 2] = table[image[..., 2]]
    return image


def _turn_hue(picture: Image.Image, turn: float) -> Image.Image:
    hue, saturation, value = picture.convert("HSV").split()
    turned = np.asarray(hue) + np.uint8(int(turn * 255) % 256)  # wraps around
    return Image.merge("HSV", (Image.fromarray(turned), saturation, value)).convert("RGB")
