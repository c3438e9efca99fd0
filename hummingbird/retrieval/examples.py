"""Images of a dense source, prepared for the encoder: resized or augmented, with their labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Int, Shaped, UInt8

from hummingbird.data.interface import DenseSource
from hummingbird.data.prompt_augment import augment_prompt
from hummingbird.retrieval import open_hummingbird
from hummingbird.retrieval.protocol import EvalProtocol
from hummingbird.retrieval.selection import AUGMENTATION, stream
from hummingbird.tasks import LocalLabels, Task

Image = UInt8[np.ndarray, "H W 3"]
Label = Shaped[np.ndarray, "H W *C"]


@dataclasses.dataclass
class Example:
    """An image as the encoder gets it.

    Attributes:
      index: number in the whole source.
      epoch: augmentation pass.
      name: the source's name for it.
      image: at input size.
      label: at input size for prompt images, at metric resolution for queries.
      original: the image at metric resolution; queries only.
      local: local labels; prompt images only.
    """

    index: int
    epoch: int
    name: str
    image: UInt8[np.ndarray, "h w 3"]
    label: Label
    original: Image | None = None
    local: LocalLabels | None = None


def prepare_prompt(source: DenseSource, index: int, epoch: int, task: Task, protocol: EvalProtocol) -> Example:
    """Prepares prompt image `index`: squashed to the input size, or augmented (Table 7) in pass `epoch`."""
    item, size = source[index], protocol.input_size
    prepare = PREPARATIONS[protocol.preparation]
    image, label = item["image"], item["label"]
    if protocol.augmentation_epochs > 0:
        rng = stream(protocol.seed, index, epoch, AUGMENTATION)
        image, label = prepare.augment(rng, image, label, size, task)
    else:
        image, label = prepare.squash(image, size), resize_label(label, size, task, prepare.nearest)
    return Example(index, epoch, item["name"], image, label)


def prepare_query(source: DenseSource, index: int, task: Task, protocol: EvalProtocol) -> Example:
    """Prepares query image `index`, squashed to the input size; label and original are at metric resolution."""
    item, size = source[index], protocol.input_size
    prepare = PREPARATIONS[protocol.preparation]
    image, label = prepare.squash(item["image"], size), item["label"]
    if protocol.metric_resolution == "input":
        return Example(index, 0, item["name"], image, resize_label(label, size, task, prepare.nearest), image)
    return Example(index, 0, item["name"], image, label, item["image"])


def squash(image: Image, size: int) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """Resizes an image to a square, ignoring its aspect; averages over areas where both sides shrink."""
    if image.shape[:2] == (size, size):
        return np.ascontiguousarray(image)
    shrinks = image.shape[0] >= size and image.shape[1] >= size
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def nearest(length: int, size: int) -> Int[np.ndarray, " {size}"]:
    """Returns, for each of `size` pixels over `length` original ones, the original pixel that its centre lies in.

    Example:
      >>> nearest(4, 2)
      array([1, 3])
    """
    return ((np.arange(size) + 0.5) * length / size).astype(int)


def resize_label(
    label: Label, size: int, task: Task, nearest: Callable[[int, int], Int[np.ndarray, " n"]] = nearest
) -> Shaped[np.ndarray, "{size} {size} *C"]:
    """Resizes a label to a square; `nearest` chooses the original pixels."""
    height, width = label.shape[:2]
    if (height, width) == (size, size):
        return label
    return task.move(label, nearest(height, size), nearest(width, size), (size / height, size / width))


class Preparation(NamedTuple):
    """How a protocol prepares images.

    Attributes:
      augment: (rng, image, label, size, task) -> image, label.
      squash: (image, size) -> image.
      nearest: (length, size) -> for each of `size` pixels over `length` original ones, one of those.
    """

    augment: Callable[[np.random.Generator, Image, Label, int, Task], tuple[Image, Label]]
    squash: Callable[[Image, int], Image]
    nearest: Callable[[int, int], Int[np.ndarray, " n"]]


PREPARATIONS = {
    "paper": Preparation(augment_prompt, squash, nearest),
    "open-hummingbird": Preparation(open_hummingbird.augment, open_hummingbird.squash, open_hummingbird.floor_nearest),
}
