"""Augmentation of images with dense labels, to train decoders; image and label stay aligned to the pixel."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Shaped, UInt8

from hummingbird.config.finetune import DenseAugment
from hummingbird.data.crops import sample_box
from hummingbird.data.window import Side, Window, squashed
from hummingbird.tasks import Task

Image = UInt8[np.ndarray, "H W 3"]
Label = Shaped[np.ndarray, "H W *C"]
CROPS = 10  # drawn at most where one class covers too much (mmseg)


class Pair(NamedTuple):
    """A square crop and its label."""

    image: UInt8[np.ndarray, "S S 3"]
    label: Shaped[np.ndarray, "S S *C"]


def augment_pair(
    rng: np.random.Generator, image: Image, label: Label, size: int, task: Task, settings: DenseAugment
) -> Pair:
    """Crops, mirrors and recolours an image, and moves its label along.

    Args:
      rng: NumPy generator.
      image: RGB.
      label: of the whole image, in its size.
      size: S, side of the crop, pixels.
      task: the kind of label.
      settings: how to augment.
    """
    window = CROPPING[settings.crop](rng, label, size, task, settings)
    change = COLOURS[settings.colours](rng)
    picture = window.picture(image, change)
    moved = window.label(label, task)
    if rng.random() < settings.flip:
        across = np.arange(size)
        picture, moved = picture[:, ::-1], task.move(moved, across, across[::-1], flip=True)
    return Pair(np.ascontiguousarray(picture), np.ascontiguousarray(moved))


# ---------------------------------------------------------------- crops
def scaled_crop(rng: np.random.Generator, label: Label, size: int, task: Task, settings: DenseAugment) -> Window:
    """Scales the image by a random factor and cuts a random square out; where it is smaller, the rest is padding.

    mmseg's RandomResize(2048 x size), RandomCrop(cat_max_ratio) and Pad, which puts padding at the right and below.
    """
    height, width = label.shape[:2]
    unit = min(size / min(height, width), settings.longest / max(height, width))
    factor = unit * rng.uniform(*settings.scale)
    tall, wide = (max(1, round(side * factor)) for side in (height, width))
    for _ in range(CROPS):
        top, left = (int(rng.integers(max(0, side - size) + 1)) for side in (tall, wide))
        window = Window(Side(height, tall, top, size), Side(width, wide, left, size))
        if settings.most_of_a_class == 1 or not task.has_classes or is_mixed(window, label, task, settings):
            break
    return window


def is_mixed(window: Window, label: Label, task: Task, settings: DenseAugment) -> bool:
    """Returns whether no class covers too much of what a window shows; a crop without any label is not mixed."""
    shown = window.label(label, task)
    _, counts = np.unique(shown[task.annotated(shown)], return_counts=True)
    return len(counts) > 1 and counts.max() < settings.most_of_a_class * counts.sum()


def area_crop(rng: np.random.Generator, label: Label, size: int, task: Task, settings: DenseAugment) -> Window:
    """Cuts a random box out and resizes it to the square (Inception's crop)."""
    height, width = label.shape[:2]
    left, top, right, bottom = sample_box(rng, width, height, settings.area, settings.aspect)
    tall, wide = round(height * size / (bottom - top)), round(width * size / (right - left))
    rows = Side(height, tall, min(round(top * size / (bottom - top)), tall - size), size)
    columns = Side(width, wide, min(round(left * size / (right - left)), wide - size), size)
    return Window(rows, columns)


def squashed_whole(rng: np.random.Generator, label: Label, size: int, task: Task, settings: DenseAugment) -> Window:
    """Shows the whole image, ignoring its aspect."""
    height, width = label.shape[:2]
    return squashed(height, width, size, size)


CROPPING: dict[str, Callable[[np.random.Generator, Label, int, Task, DenseAugment], Window]] = {
    "scale": scaled_crop,
    "area": area_crop,
    "squash": squashed_whole,
}


# ---------------------------------------------------------------- colours
def distort(rng: np.random.Generator) -> Callable[[Image], Image]:
    """Draws mmseg's PhotoMetricDistortion: brightness +-32, contrast and saturation U[.5, 1.5], hue +-18 degrees.

    Each with probability 0.5, contrast before or after saturation and hue; values are clipped after each.
    """
    likely = rng.random(5) < 0.5
    shift, contrast, saturation = rng.uniform(-32, 32), rng.uniform(0.5, 1.5), rng.uniform(0.5, 1.5)
    hue = int(rng.integers(-18, 18))

    def change(image: Image) -> Image:
        image = _linear(image, 1.0, shift) if likely[0] else image
        image = _linear(image, contrast, 0.0) if likely[1] and likely[2] else image
        if likely[3] or likely[4]:
            hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(np.int32)  # hue in half degrees
            hsv[..., 1] = np.clip(hsv[..., 1] * saturation, 0, 255) if likely[3] else hsv[..., 1]
            hsv[..., 0] = (hsv[..., 0] + hue) % 180 if likely[4] else hsv[..., 0]
            image = cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB)
        return _linear(image, contrast, 0.0) if likely[1] and not likely[2] else image

    return change


def _linear(image: Image, factor: float, shift: float) -> Image:
    """Returns factor * image + shift, clipped."""
    return np.clip(image.astype(np.float32) * factor + shift, 0, 255).astype(np.uint8)


def balance(rng: np.random.Generator) -> Callable[[Image], Image]:
    """Draws BTS's change of colours, with probability 0.5: gamma, brightness, and a factor for each channel."""
    likely, gamma, brightness = rng.random() < 0.5, rng.uniform(0.9, 1.1), rng.uniform(0.75, 1.25)
    channels = rng.uniform(0.9, 1.1, 3)

    def change(image: Image) -> Image:
        if not likely:
            return image
        bright = (image / np.float32(255)) ** np.float32(gamma) * np.float32(brightness)
        return np.clip(bright * channels.astype(np.float32) * 255, 0, 255).astype(np.uint8)

    return change


def unchanged(rng: np.random.Generator) -> Callable[[Image], Image]:
    """Leaves colours as they are."""
    return lambda image: image


COLOURS: dict[str, Callable[[np.random.Generator], Callable[[Image], Image]]] = {
    "none": unchanged,
    "mmseg": distort,
    "depth": balance,
}
