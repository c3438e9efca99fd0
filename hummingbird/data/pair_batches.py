"""Batches of images with dense labels, to train decoders: augmented, read ahead, resumable at any batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypedDict

import grain
import jax
import numpy as np
from jaxtyping import Int64, Shaped, UInt8

from hummingbird.config.finetune import DenseAugment, FinetuneConfig
from hummingbird.data.batches import Batches, Collation, first_readable, make_dataset
from hummingbird.data.broken import build_broken_images
from hummingbird.data.dense_augment import Pair, augment_pair
from hummingbird.data.feed import build_reading
from hummingbird.data.interface import DenseItem, DenseSource, Readable
from hummingbird.data.sources import Cached
from hummingbird.errors import UserError
from hummingbird.run.files import Json
from hummingbird.tasks import Task
from hummingbird.tasks.class_metrics import check_classes


class Example(TypedDict):
    """One augmented image.

    Attributes:
      image: the crop.
      label: of its pixels.
      index: number of the image in the source.
      broken: (number, message) of the unreadable images that it replaces.
    """

    image: UInt8[np.ndarray, "S S 3"]
    label: Shaped[np.ndarray, "S S *C"]
    index: int
    broken: list[tuple[int, str]]


class PairBatch(TypedDict):
    """The b images of a global batch that belong to this host, with the keys of `Example`."""

    image: UInt8[np.ndarray, "b S S 3"]
    label: Shaped[np.ndarray, "b S S *C"]
    index: Int64[np.ndarray, " b"]


class MakePairs(grain.transforms.RandomMap):
    """Maps the number of an image to an augmented crop of it, or of the next image that can be read."""

    def __init__(
        self, source: Readable[DenseItem], images: Sequence[int], size: int, task: Task, settings: DenseAugment
    ):
        """Makes crops of some images of a source.

        Args:
          source: images with labels.
          images: those of the source to train on.
          size: side of the crops.
          task: kind of label.
          settings: how they are augmented.
        """
        self._source, self._images, self._size = source, images, size
        self._task, self._settings = task, settings

    def random_map(self, element: int, rng: np.random.Generator) -> Example:
        def make(number: int) -> Pair:
            return augment_item(rng, self._source[self._images[number]], self._size, self._task, self._settings)

        pair, number, broken = first_readable(make, int(element), len(self._images))
        return {"image": pair.image, "label": pair.label, "index": self._images[number], "broken": broken}


def augment_item(rng: np.random.Generator, item: DenseItem, size: int, task: Task, settings: DenseAugment) -> Pair:
    """Returns `augment_pair` of an image; UserError names it if its label holds a class that the task lacks."""
    pair = augment_pair(rng, item["image"], item["label"], size, task, settings)
    if task.has_classes:
        check_classes(pair.label, task.channels, int(task.void), f"label of image {item['name']}")
    return pair


def stack(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Stacks the arrays of items, by name; those of a name may be a tuple of arrays."""
    return _merged(items, lambda *arrays: np.stack([np.asarray(x) for x in arrays]))


def join(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Concatenates batches."""
    return _merged(parts, lambda *arrays: np.concatenate(arrays))


def _merged(found: Sequence[dict[str, Any]], merge: Callable[..., np.ndarray]) -> dict[str, Any]:
    arrays = [{name: value for name, value in item.items() if name != "broken"} for item in found]
    return {**jax.tree.map(merge, *arrays), "broken": [entry for item in found for entry in item["broken"]]}


ROWS = Collation(stack, join)


def build_pair_batches(
    config: FinetuneConfig,
    source: DenseSource,
    images: Sequence[int],
    task: Task,
    host: int = 0,
    hosts: int = 1,
) -> Batches[PairBatch]:
    """Builds the batches of pairs that one of `hosts` processes reads.

    Args:
      config: reads `data.*`, `batch_size` (global), `input_size`, `augment` and `seed`.
      source: images with labels.
      images: those of them to train on.
      task: kind of label.
      host, hosts: this process's number, and how many there are.

    Raises:
      UserError: the batch does not divide over the hosts.
    """
    cached = Cached(source, config.data.cache << 20) if config.data.cache else source
    transform = MakePairs(cached, images, config.input_size, task, config.augment)
    pixel_bytes = 3 + task.label_dtype.itemsize * (1 if task.has_classes else task.channels)
    fingerprint = {**data_fingerprint(config, source, images), "augment": _as_json(config.augment)}
    return build_row_batches(
        config, transform, len(images), fingerprint, pixel_bytes * config.input_size**2, host, hosts
    )


def data_fingerprint(config: FinetuneConfig, source: DenseSource, images: Sequence[int]) -> dict[str, Json]:
    """Returns what the order of batches depends on, whatever they hold."""
    return {
        "source": source.fingerprint,
        "images": len(images),
        "fraction": config.data.fraction,
        "held_out": config.data.held_out,
        "seed": config.seed,
        "batch_size": config.batch_size,
        "input_size": config.input_size,
    }


def _as_json(settings: DenseAugment) -> dict[str, Json]:
    found = dataclasses.asdict(settings)
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


def build_row_batches(
    config: FinetuneConfig,
    transform: grain.transforms.RandomMap,
    rows: int,
    fingerprint: dict[str, Json],
    row_bytes: int,
    host: int,
    hosts: int,
) -> Batches[Any]:
    """Builds batches of whatever `transform` makes of the numbers 0 to `rows` - 1; see `build_pair_batches`."""
    if config.batch_size % hosts:
        raise UserError(f"config key batch_size: {config.batch_size} images do not divide over {hosts} hosts")
    host_batch = config.batch_size // hosts
    dataset = make_dataset(transform, rows, config.seed, config.batch_size, host, hosts)
    reading = build_reading(config.data, host_batch, row_bytes)
    broken = build_broken_images(config.data, rows)
    return Batches(dataset, host_batch, fingerprint, reading, broken, ROWS, config.data.start_over)
