"""Images of a dense source, prepared for the encoder: resized or augmented, with their labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped, UInt8

from hummingbird.data.interface import DenseSource
from hummingbird.data.prompt_augment import augment_prompt
from hummingbird.data.window import squashed
from hummingbird.retrieval import open_hummingbird
from hummingbird.retrieval.protocol import EvalProtocol
from hummingbird.retrieval.selection import AUGMENTATION, stream
from hummingbird.tasks import LocalLabels, Task
from hummingbird.tasks.patches import Cells

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
      label: of the whole image; at metric resolution for queries.
      cells: where the patches of `image` lie in `label`.
      original: the image at metric resolution; queries only.
      local: local labels; prompt images only.
    """

    index: int
    epoch: int
    name: str
    image: UInt8[np.ndarray, "h w 3"]
    label: Label
    cells: Cells
    original: Image | None = None
    local: LocalLabels | None = None


class Prepared(NamedTuple):
    """An encoder input with its label.

    Attributes:
      image: the input.
      label: of the whole image, in any resolution.
      cells: where the patches of the input lie in it.
    """

    image: UInt8[np.ndarray, "h w 3"]
    label: Label
    cells: Cells


def prepare_prompt(source: DenseSource, index: int, epoch: int, task: Task, protocol: EvalProtocol) -> Example:
    """Prepares prompt image `index`: squashed to the input size, or augmented (Table 7) in pass `epoch`."""
    item = source[index]
    rng = stream(protocol.seed, index, epoch, AUGMENTATION) if protocol.augmentation_epochs else None
    prepare = PREPARATIONS[protocol.preparation]
    return Example(index, epoch, item["name"], *prepare.prompt(rng, item["image"], item["label"], task, protocol))


def prepare_query(source: DenseSource, index: int, task: Task, protocol: EvalProtocol) -> Example:
    """Prepares query image `index`, squashed to the input size; label and original are at metric resolution."""
    item, prepare = source[index], PREPARATIONS[protocol.preparation]
    image, label = prepare.query(item["image"], item["label"], task, protocol)
    original = image
    if protocol.metric_resolution == "original":
        label, original = item["label"], item["image"]
    return Example(index, 0, item["name"], image, label, whole_cells(label, protocol), original)


def whole_cells(label: Label, protocol: EvalProtocol) -> Cells:
    """Returns where the patches of a whole image lie in its label."""
    height, width = label.shape[:2]
    return squashed(height, width, protocol.input_size, protocol.input_size).cells(protocol.patch_size)


# ---------------------------------------------------------------- the paper
def paper_prompt(
    rng: np.random.Generator | None, image: Image, label: Label, task: Task, protocol: EvalProtocol
) -> Prepared:
    """Augments an image if there is a generator, or squashes it; its label keeps its own resolution."""
    size = protocol.input_size
    if rng is None:
        window = squashed(image.shape[0], image.shape[1], size, size)
        picture = window.picture(image)
    else:
        picture, window = augment_prompt(rng, image, size, protocol.augmentation_scale)
    return Prepared(picture, label, window.cells(protocol.patch_size))


def paper_query(image: Image, label: Label, task: Task, protocol: EvalProtocol) -> tuple[Image, Label]:
    """Squashes an image and its label to the input size."""
    height, width = image.shape[:2]
    window = squashed(height, width, protocol.input_size, protocol.input_size)
    return window.picture(image), window.label(label, task)


# ---------------------------------------------------------------- open-hummingbird
def open_prompt(
    rng: np.random.Generator | None, image: Image, label: Label, task: Task, protocol: EvalProtocol
) -> Prepared:
    """Augments or squashes image and label as that project does; local labels are those of the resized mask."""
    if rng is None:
        image, label = open_query(image, label, task, protocol)
    else:
        image, label = open_hummingbird.augment(rng, image, label, protocol.input_size, task)
    return Prepared(image, label, whole_cells(label, protocol))


def open_query(image: Image, label: Label, task: Task, protocol: EvalProtocol) -> tuple[Image, Label]:
    """Squashes image and label as that project does."""
    size = protocol.input_size
    return open_hummingbird.squash(image, size), open_hummingbird.resize_label(label, size, task)


class Preparation(NamedTuple):
    """How a protocol prepares images.

    Attributes:
      prompt: (rng, image, label, task, protocol) -> the input; rng is None without augmentation.
      query: (image, label, task, protocol) -> the input, and a label of its size.
    """

    prompt: Callable[[np.random.Generator | None, Image, Label, Task, EvalProtocol], Prepared]
    query: Callable[[Image, Label, Task, EvalProtocol], tuple[Image, Label]]


PREPARATIONS = {
    "paper": Preparation(paper_prompt, paper_query),
    "open-hummingbird": Preparation(open_prompt, open_query),
}
