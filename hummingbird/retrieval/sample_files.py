"""Samples of an evaluation, as the report shows them, and their file: one .npz of arrays and a JSON description."""

from __future__ import annotations

import json
from typing import Any, TypedDict

import numpy as np
from jaxtyping import Float16, Float32, Integer, Shaped, UInt8

from hummingbird.errors import UserError
from hummingbird.run.files import Json, replacing

Picture = UInt8[np.ndarray, "H W 3"]
Box = tuple[int, int, int, int]  # top, left, height, width, pixels


class Entry(TypedDict):
    """A bank entry among the neighbours of a query patch.

    Attributes:
      weight: in the attention over all neighbours.
      similarity: cosine to the query patch.
      image: number of the prompt image.
      name: the source's name for it.
      epoch: augmentation pass.
      position: row and column of the patch.
      crop: the patch with its surroundings.
      label: what stands for its local label.
      fraction: share of its valid pixels with that label.
    """

    weight: float
    similarity: float
    image: int
    name: str
    epoch: int
    position: tuple[int, int]
    crop: Picture
    label: int | float
    fraction: float


class Patch(TypedDict):
    """A query patch and its neighbours.

    Attributes:
      position: row and column in the grid.
      box: where it lies in the image at metric resolution.
      crop: the patch with its surroundings, at input size.
      inner: where the patch lies in the crop.
      entries: its nearest neighbours, best first.
    """

    position: tuple[int, int]
    box: Box
    crop: Picture
    inner: Box
    entries: list[Entry]


class Query(TypedDict):
    """A query image.

    Attributes:
      index: number in the query set.
      name: the source's name for it.
      image: at metric resolution, as are truth, prediction and error.
      truth: label.
      prediction: of the same kind.
      error: what `Task.error` returns.
      score: the image's own headline score.
      features: of its patches.
      attention: pooling attention of the encoder, if it has any.
      neighbours: some of its patches.
    """

    index: int
    name: str
    image: Picture
    truth: Shaped[np.ndarray, "H W *C"]
    prediction: Shaped[np.ndarray, "H W *C"]
    error: Shaped[np.ndarray, "H W"]
    score: float
    features: Float16[np.ndarray, "h w D"]
    attention: Float32[np.ndarray, "h w"] | None
    neighbours: list[Patch]


class Samples(TypedDict):
    """What a report shows of an evaluation.

    Attributes:
      task: kind of label.
      classes: class names by id.
      ignore: class id of void pixels.
      patch: patch side in pixels.
      grid: rows and columns of patches of a square encoder input; `features` has those of each image.
      input_size: pixels along its sides.
      encoder: its name.
      queries: the images shown.
    """

    task: str
    classes: list[str]
    ignore: int
    patch: int
    grid: tuple[int, int]
    input_size: tuple[int, int]
    encoder: str
    queries: list[Query]


class ImageNeighbour(TypedDict):
    """An image among the nearest ones of a query image.

    Attributes:
      name: the source's name for it.
      image: small.
      label: its class, or how relevant it is to the query.
      right: whether that is the query's class, or relevant; None: it does not count.
      similarity: cosine to the query.
    """

    name: str
    image: Picture
    label: str
    right: bool | None
    similarity: float


class ImageQuery(TypedDict):
    """A query image of an evaluation of whole images.

    Attributes:
      name: the source's name for it.
      image: small.
      truth: its class; "" for image retrieval.
      prediction: the class that was predicted; for image retrieval, the query's average precision.
      right: whether that is the class; None for image retrieval.
      neighbours: nearest first.
    """

    name: str
    image: Picture
    truth: str
    prediction: str
    right: bool | None
    neighbours: list[ImageNeighbour]


class ImageSamples(TypedDict):
    """What a report shows of an evaluation of whole images.

    Attributes:
      encoder: its name.
      classes: class names by id; none for image retrieval.
      confusion: images of each class (row) by predicted class (column); None without classes, or for very many.
      queries: the images shown.
    """

    encoder: str
    classes: list[str]
    confusion: Integer[np.ndarray, "C C"] | None
    queries: list[ImageQuery]


def save_samples(path: str, samples: Samples | ImageSamples) -> None:
    """Writes samples to an .npz file, whole or not at all."""
    arrays: dict[str, np.ndarray] = {}
    structure = json.dumps(strip(samples, arrays))
    with replacing(path) as part, part.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, structure=np.array(structure), **arrays)


def load_image_samples(path: str) -> ImageSamples:
    """Reads the samples of an evaluation of whole images, as `load_samples` does others."""
    return load(path)


def load_samples(path: str) -> Samples:
    """Reads what `save_samples` wrote; tuples come back as lists. UserError if it is missing or another file."""
    return load(path)


def load(path: str) -> Any:
    """Reads the tree of an .npz file that `save_samples` wrote. UserError if it is missing or another file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            structure = json.loads(str(file["structure"]))
            arrays = {name: file[name] for name in file.files}
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"{path} is not a samples file of an evaluation ({error}); run the evaluation again") from error
    return fill(structure, arrays)


def strip(node: Any, arrays: dict[str, np.ndarray]) -> Json:
    """Replaces the arrays in a tree by {"array": name}, and adds them to `arrays`."""
    if isinstance(node, np.ndarray):
        name = f"array{len(arrays)}"
        arrays[name] = node
        return {"array": name}
    if isinstance(node, dict):
        return {key: strip(value, arrays) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [strip(value, arrays) for value in node]
    return node


def fill(node: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Puts back the arrays that `strip` took out of a tree."""
    if isinstance(node, dict):
        return arrays[node["array"]] if set(node) == {"array"} else {k: fill(v, arrays) for k, v in node.items()}
    return [fill(value, arrays) for value in node] if isinstance(node, list) else node
