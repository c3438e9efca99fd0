"""Images of a dense source, prepared for the encoder: resized or augmented, with their labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import PIL.Image
from jaxtyping import Shaped, UInt8

from hummingbird.data.interface import DenseSource
from hummingbird.data.prompt_augment import augment_prompt
from hummingbird.data.window import Window, squashed, unsquashed
from hummingbird.retrieval import open_hummingbird
from hummingbird.retrieval.protocol import LONGEST, EvalProtocol
from hummingbird.retrieval.selection import AUGMENTATION, stream
from hummingbird.tasks import LocalLabels, Task
from hummingbird.tasks.patches import Cells, patch_cells

Image = UInt8[np.ndarray, "H W 3"]
Label = Shaped[np.ndarray, "H W *C"]
Resized = tuple[UInt8[np.ndarray, "h w 3"], Shaped[np.ndarray, "h w *C"]]


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
      canvas: height and width of the patches that show some of the image, in pixels of `label`, which is their upper
        left part.
      original: the image at metric resolution; queries only.
      local: local labels; prompt images only.
    """

    index: int
    epoch: int
    name: str
    image: UInt8[np.ndarray, "h w 3"]
    label: Label
    cells: Cells
    canvas: tuple[int, int]
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
    """Prepares prompt image `index`: resized as queries are, or augmented (Table 7) in pass `epoch`."""
    item = source[index]
    rng = stream(protocol.seed, index, epoch, AUGMENTATION) if protocol.augmentation_epochs else None
    image, label, cells = PREPARATIONS[protocol.preparation].prompt(rng, item["image"], item["label"], task, protocol)
    return Example(index, epoch, item["name"], image, label, cells, label.shape[:2])


def prepare_query(source: DenseSource, index: int, task: Task, protocol: EvalProtocol) -> Example:
    """Prepares query image `index`; label and original are at metric resolution."""
    item, prepare = source[index], PREPARATIONS[protocol.preparation]
    image, label = prepare.query(item["image"], item["label"], task, protocol)
    original = image
    if protocol.metric_resolution == "original":
        label, original = item["label"], item["image"]
    return Example(index, 0, item["name"], image, label, *query_frame(label, protocol), original)


def smallest(label: Label) -> Label:
    """Converts a label to the smallest type that holds it: floats to float32, integers without loss."""
    if np.issubdtype(label.dtype, np.floating):
        return label.astype(np.float32, copy=False)
    low, high = int(label.min(initial=0)), int(label.max(initial=0))
    return label.astype(np.result_type(np.min_scalar_type(low), np.min_scalar_type(high)))


def whole_window(image: Image | Label, protocol: EvalProtocol) -> Window:
    """Returns the window that shows a whole image, given that or its label."""
    size, (height, width) = protocol.input_size, image.shape[:2]
    if protocol.resize == "squash":
        return squashed(height, width, size, size)
    patch, rows = protocol.patch_size, protocol.grid[0]
    step = patch if protocol.windows == "slide" else patch * max(1, round(rows / 4))
    return unsquashed(height, width, size, step, LONGEST * size)


def query_frame(label: Label, protocol: EvalProtocol) -> tuple[Cells, tuple[int, int]]:
    """Returns where the patches of a query lie in its label at metric resolution, and the canvas of those that do."""
    height, width = label.shape[:2]
    if protocol.metric_resolution == "input":
        return patch_cells(height, width, protocol.patch_size), (height, width)
    window = whole_window(label, protocol)
    return window.cells(protocol.patch_size), window.canvas(protocol.patch_size)


# ---------------------------------------------------------------- the paper
def paper_prompt(
    rng: np.random.Generator | None, image: Image, label: Label, task: Task, protocol: EvalProtocol
) -> Prepared:
    """Augments an image if there is a generator, else shows all of it; its label keeps its own resolution."""
    window = whole_window(image, protocol)
    if rng is None:
        picture = window.picture(image)
    else:
        base = (window.rows.resized, window.columns.resized) if protocol.augmentation_scale == "input" else None
        picture, window = augment_prompt(rng, image, protocol.input_size, base)
    return Prepared(picture, label, window.cells(protocol.patch_size))


def paper_query(image: Image, label: Label, task: Task, protocol: EvalProtocol) -> Resized:
    """Resizes an image and its label for the encoder."""
    window = whole_window(image, protocol)
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
    return Prepared(image, label, patch_cells(protocol.input_size, protocol.input_size, protocol.patch_size))


def open_query(image: Image, label: Label, task: Task, protocol: EvalProtocol) -> Resized:
    """Squashes image and label as that project does."""
    size = protocol.input_size
    return open_hummingbird.squash(image, size), open_hummingbird.resize_label(label, size, task)


# ---------------------------------------------------------------- CAPI
def capi_prompt(
    rng: np.random.Generator | None, image: Image, label: Label, task: Task, protocol: EvalProtocol
) -> Prepared:
    """Squashes image and label as CAPI does, which augments nothing."""
    image, label = capi_query(image, label, task, protocol)
    return Prepared(image, label, patch_cells(protocol.input_size, protocol.input_size, protocol.patch_size))


def capi_query(image: Image, label: Label, task: Task, protocol: EvalProtocol) -> Resized:
    """Squashes an image by Pillow's bicubic filter, and its label to the pixels below the new pixels' centres."""
    size, (height, width) = protocol.input_size, label.shape[:2]
    picture = np.asarray(PIL.Image.fromarray(image).resize((size, size), PIL.Image.Resampling.BICUBIC))
    rows, columns = (((2 * np.arange(size) + 1) * side) // (2 * size) for side in (height, width))
    return picture, task.move(label, rows, columns, (size / height, size / width))


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
    "capi": Preparation(capi_prompt, capi_query),
}
