"""Features of a frozen encoder, encoded once and trained on many times.

Without a cache, a crop is encoded whenever it is drawn. With one there are only `passes` crops of each image, so that a
linear head costs little beyond encoding them. metrics.json records how many there were.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypedDict

import grain
import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped

from hummingbird.config import replace
from hummingbird.config.finetune import FinetuneConfig
from hummingbird.data.batches import Batches, first_readable
from hummingbird.data.interface import DenseSource
from hummingbird.data.pair_batches import augment_item, build_row_batches, data_fingerprint
from hummingbird.decoders.model import Encoded
from hummingbird.errors import UserError
from hummingbird.retrieval.examples import smallest
from hummingbird.retrieval.progress import track
from hummingbird.retrieval.selection import AUGMENTATION, stream
from hummingbird.retrieval.threads import in_order
from hummingbird.tasks import Task

STORED = jnp.bfloat16  # half the memory; features are rounded to 8 bits


class Crop(NamedTuple):
    """An augmented crop before it is encoded.

    Attributes:
      index: number of the image in the source.
      name: of the image.
      picture: for the encoder.
      label: of its pixels.
      broken: (number, message) of the unreadable images that it replaces.
    """

    index: int
    name: str
    picture: np.ndarray
    label: np.ndarray
    broken: list[tuple[int, str]]


class Row(TypedDict):
    """Features of one augmented crop.

    Attributes:
      maps, cls: of the layers that the head takes, side by side.
      label: of its pixels.
      index: number of the image in the source.
      broken: (number, message) of the unreadable images that it replaces.
    """

    maps: tuple[np.ndarray, ...]
    cls: tuple[np.ndarray, ...]
    label: np.ndarray
    index: int
    broken: list[tuple[int, str]]


class FeatureBatch(TypedDict):
    """The b rows of a global batch that belong to this host, with the keys of `Row`."""

    maps: tuple[np.ndarray, ...]
    cls: tuple[np.ndarray, ...]
    label: Shaped[np.ndarray, "b S S *C"]
    index: np.ndarray


class Cache:
    """Encodes `passes` augmented crops of each image when the first row is needed, and holds them.

    A resumed run encodes them again; a run that is only scored does not.
    """

    def __init__(
        self,
        config: FinetuneConfig,
        source: DenseSource,
        images: Sequence[int],
        task: Task,
        encode: Callable[[np.ndarray], Encoded],
    ):
        """Encodes nothing yet.

        Args:
          config: reads `decoder.cache_features`, `input_size`, `batch_size`, `augment` and `seed`.
          source: images with labels.
          images: those of them to train on.
          task: kind of label.
          encode: uint8 images [B, S, S, 3] -> features.
        """
        self._config, self._source, self._images, self._task, self._encode = config, source, images, task, encode
        self._lock = threading.Lock()
        self._rows: list[Row] = []

    def __len__(self) -> int:
        return self._config.decoder.cache_features * len(self._images)

    def __getitem__(self, number: int) -> Row:
        with self._lock:
            if not self._rows:
                self._rows = list(self._fill())
        return {**self._rows[number], "label": self._rows[number]["label"].astype(self._task.label_dtype)}

    def _fill(self) -> Iterator[Row]:
        config, size = self._config, self._config.batch_size

        def crop(number: int) -> Crop:
            epoch, place = divmod(number, len(self._images))

            def make(place: int) -> Crop:
                index = self._images[place]
                item, rng = self._source[index], stream(config.seed, index, epoch, AUGMENTATION)
                pair = augment_item(rng, item, config.input_size, self._task, config.augment)
                return Crop(index, item["name"], pair.image, smallest(pair.label), [])

            made, _, broken = first_readable(make, place, len(self._images))
            return made._replace(broken=broken)

        crops = track(in_order(crop, range(len(self))), len(self), "encoding", config.progress)
        waiting: list[Crop] = []
        for number, found in enumerate(crops, 1):
            waiting.append(found)
            if len(waiting) == size or number == len(self):
                yield from self._encoded(waiting)
                waiting = []

    def _encoded(self, crops: list[Crop]) -> Iterator[Row]:
        pictures = np.stack([crop.picture for crop in crops])
        padded = np.concatenate([pictures, np.repeat(pictures[-1:], self._config.batch_size - len(pictures), axis=0)])
        maps, cls = (tuple(np.asarray(x.astype(STORED)) for x in part) for part in self._encode(padded))
        for i, (index, name, _, label, broken) in enumerate(crops):
            row = Row(
                maps=tuple(x[i] for x in maps), cls=tuple(x[i] for x in cls), label=label, index=index, broken=broken
            )
            if not all(np.isfinite(x).all() for x in (*row["maps"], *row["cls"])):
                raise UserError(f"the encoder's features of image {name} are NaN or infinite; use another checkpoint")
            yield row


class MakeRows(grain.transforms.RandomMap):
    """Maps a number to a row of a cache."""

    def __init__(self, cache: Cache):
        self._cache = cache

    def random_map(self, element: int, rng: np.random.Generator) -> Row:
        return self._cache[int(element)]


def build_feature_batches(
    config: FinetuneConfig, source: DenseSource, images: Sequence[int], cache: Cache, host: int = 0, hosts: int = 1
) -> Batches[FeatureBatch]:
    """Builds the batches of cached features that one of `hosts` processes reads; see `build_pair_batches`.

    Each process encodes all images, since any of them may be in its part of a batch. No worker reads: the rows are in
    the memory of this one.
    """
    config = replace(config, {"data.workers": 0})
    passes = config.decoder.cache_features
    fingerprint = {**data_fingerprint(config, source, images), "cache_features": passes}
    return build_row_batches(config, MakeRows(cache), len(cache), fingerprint, 1, host, hosts)
