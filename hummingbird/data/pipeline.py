"""Batches of views for pretraining: shuffled, cropped, batched and read ahead by Grain; resumable at any batch.

Every random choice depends only on the seed and on an image's global position in the run. Shuffling and cropping come
before the hosts' shares are cut, so host h of H gets part h of every global batch, in order, whatever the number of
hosts, workers and threads: the parts of all hosts, joined in their order, are the batch of a single host.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypedDict

import grain
import numpy as np
from absl import flags
from jaxtyping import Int32, Int64, UInt8

from hummingbird.config import PretrainConfig
from hummingbird.config.data import Augment
from hummingbird.data import crops
from hummingbird.data.interface import ImageSource, Unreadable, image_name
from hummingbird.data.sources import Cached, build_image_source
from hummingbird.data.views import ViewGroup, build_view_groups
from hummingbird.errors import UserError
from hummingbird.run.files import Json

log = logging.getLogger(__name__)

MOST_IN_A_ROW = 100  # give up after this many consecutive unreadable images


class Views(TypedDict):
    """The views of one image.

    Attributes:
      views: {view group: V crops of S x S pixels}.
      label: class id, -1 if there is none.
      index: number of the image in the source.
      broken: (number, message) of the unreadable images that it replaces.
    """

    views: dict[str, UInt8[np.ndarray, "V S S 3"]]
    label: int
    index: int
    broken: list[tuple[int, str]]


class Collated(TypedDict):
    """The views of B images, with the keys of `Views`."""

    views: dict[str, UInt8[np.ndarray, "B V S S 3"]]
    label: Int32[np.ndarray, " B"]
    index: Int64[np.ndarray, " B"]
    broken: list[tuple[int, str]]


class HostBatch(TypedDict):
    """The b images of a global batch that belong to this host.

    Attributes:
      views: {view group: V crops of S x S pixels of each image}.
      label: class ids, -1 for images without one.
      index: numbers of the images in the source.
    """

    views: dict[str, UInt8[np.ndarray, "b V S S 3"]]
    label: Int32[np.ndarray, " b"]
    index: Int64[np.ndarray, " b"]


class MakeViews(grain.transforms.RandomMap):
    """Maps the number of an image to views of it, or of the next image that can be read."""

    def __init__(self, source: ImageSource, groups: Mapping[str, ViewGroup], lenient: bool = False):
        self._source = source
        self._crop = functools.partial(crops.crop_groups, groups=groups, lenient=lenient)

    def random_map(self, element: int, rng: np.random.Generator) -> Views:
        broken: list[tuple[int, str]] = []
        while True:
            index = (int(element) + len(broken)) % len(self._source)
            try:
                item = self._source[index]
                views = self._crop(rng, item["image"], name=image_name(self._source, index))
            except Unreadable as error:
                broken.append((index, str(error)))
                if len(broken) == MOST_IN_A_ROW:
                    raise UserError(
                        f"{MOST_IN_A_ROW} images in a row are unreadable; the first: {broken[0][1]}"
                    ) from error
                continue
            return {"views": views, "label": item["label"], "index": index, "broken": broken}


def collate(items: Sequence[Views]) -> Collated:
    """Stacks the views of images."""
    return {
        "views": {name: np.stack([item["views"][name] for item in items]) for name in items[0]["views"]},
        "label": np.array([item["label"] for item in items], np.int32),
        "index": np.array([item["index"] for item in items], np.int64),
        "broken": [entry for item in items for entry in item["broken"]],
    }


class Batches(Iterator[HostBatch]):
    """Endless, resumable iterator over batches.

    Attributes:
      broken: what is wrong with each unreadable image that was replaced, by its number.
      fingerprint: identifies the data and their order.
    """

    def __init__(
        self,
        dataset: grain.MapDataset,
        fingerprint: Mapping[str, Json],
        workers: int = 0,
        threads: int = 4,
        read_ahead: int = 4,
        max_broken: int = 0,
        start_over: bool = False,
        source: ImageSource | None = None,
    ):
        """Starts at the first batch.

        Args:
          dataset: batches as `collate` makes them.
          fingerprint: as above.
          workers: processes that make batches; 0: threads of this process.
          threads: threads that make batches, per process.
          read_ahead: batches prepared in advance, per process.
          max_broken: how many different images may be unreadable.
          start_over: `set_state` with a position in other data goes to the start of these instead of refusing.
          source: the images, for `some_labels`.
        """
        self.fingerprint = fingerprint
        self.broken: dict[int, str] = {}
        self._dataset = dataset
        self._workers, self._threads, self._read_ahead = workers, threads, read_ahead
        self._max_broken, self._start_over = max_broken, start_over
        self._source = source
        self._position = 0
        self._iterator: grain.DatasetIterator[Collated] | None = None

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> HostBatch:
        if self._iterator is None:
            self._iterator = iter(self._open())
        try:
            batch = next(self._iterator)
        except RuntimeError as error:  # what Grain raises when a worker is gone
            if not self._workers:
                raise
            raise RuntimeError(f"a data worker died, batch {self._position} is lost: {error}") from error
        for index, message in batch["broken"]:
            self._count_broken(int(index), str(message))
        # Copy from workers: Grain may free its shared memory while a device array still aliases it.
        own = np.array if self._workers else np.asarray
        views = {name: own(x) for name, x in batch["views"].items()}
        self._position += 1
        return {"views": views, "label": own(batch["label"]), "index": own(batch["index"])}

    def some_labels(self, count: int = 8) -> Int32[np.ndarray, " n"]:
        """Returns the labels of at most `count` images spread over the source, without those that cannot be read."""
        found: list[int] = []
        images = 0 if self._source is None else len(self._source)
        for index in np.linspace(0, images - 1, min(count, images)).astype(int):
            assert self._source is not None
            with contextlib.suppress(Unreadable):
                found.append(self._source[int(index)]["label"])
        return np.array(found, np.int32)

    def _count_broken(self, index: int, message: str) -> None:
        if index in self.broken:
            return
        self.broken[index] = message
        if len(self.broken) > self._max_broken:
            raise UserError(
                f"{len(self.broken)} images are unreadable, config key data.max_broken allows {self._max_broken};"
                f" the last: {message}"
            )
        log.warning("replaced an unreadable image (%d of at most %d): %s", len(self.broken), self._max_broken, message)

    def _open(self) -> grain.IterDataset[Collated]:
        """Reads from `_position` on. Worker w makes batches w, w + workers, ..., which are returned in order."""
        ahead = self._read_ahead if self._threads else 0
        options = grain.ReadOptions(num_threads=min(self._threads, ahead), prefetch_buffer_size=ahead)
        dataset = self._dataset[self._position :].to_iter_dataset(options)
        if self._workers:
            if not flags.FLAGS.is_parsed():  # Grain passes absl's flags to its workers, also where nobody uses them
                flags.FLAGS.mark_as_parsed()
            processes = grain.MultiprocessingOptions(num_workers=self._workers, per_worker_buffer_size=max(1, ahead))
            dataset = dataset.mp_prefetch(processes)
        return dataset

    def get_state(self) -> dict[str, Json]:
        """Returns the position in the data, to be saved as JSON; independent of hosts, workers and threads."""
        broken = [[index, message] for index, message in sorted(self.broken.items())]
        return {"position": self._position, "fingerprint": self.fingerprint, "broken": broken}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continues from a position that `get_state` returned.

        Raises:
          UserError: the position is in other data, unless `start_over`.
        """
        try:
            check_fingerprint(state["fingerprint"], self.fingerprint)
        except UserError as error:
            if not self._start_over:
                raise
            log.warning("%s; starting from the beginning of the new data", str(error).partition("; ")[0])
            state = {"position": 0, "broken": []}
        self.close()
        self._position = int(state["position"])
        self.broken = {int(index): str(message) for index, message in state["broken"]}

    def close(self) -> None:
        """Stops reading ahead and ends the workers."""
        if self._iterator is not None:
            self._iterator.close()
            self._iterator = None


def check_fingerprint(saved: Mapping[str, Json], current: Mapping[str, Json]) -> None:
    """Refuses to resume on different data, which would silently change the batches.

    Raises:
      UserError: the fingerprints differ; the message names every difference.
    """
    differing = [
        f"{key} was {json.dumps(saved.get(key))}, is {json.dumps(current.get(key))}"
        for key in sorted({*saved, *current})
        if json.dumps(saved.get(key)) != json.dumps(current.get(key))
    ]
    if differing:
        raise UserError(
            f"the data differ from those that the run has read ({', '.join(differing)}); set data.start_over=true to"
            " continue with the new data from their start, or use another workdir"
        )


def make_dataset(
    transform: grain.transforms.RandomMap, images: int, seed: int, batch_size: int, host: int = 0, hosts: int = 1
) -> grain.MapDataset:
    """Makes the endless sequence of a host's batches: element n is a pure function of the arguments and n.

    Args:
      transform: makes an item, as `collate` takes it, from the number of an image.
      images: number of images.
      seed: decides order and crops.
      batch_size: images in the global batch.
      host, hosts: this process's number, and how many there are.
    """
    dataset = grain.MapDataset.range(images).seed(seed).shuffle().repeat().random_map(transform)
    return dataset.batch(batch_size // hosts, drop_remainder=True, batch_fn=collate)[host::hosts]


def _unusual_views(augment: Augment) -> dict[str, Json]:
    """Returns what a fingerprint says about views other than two random crops; those of older runs have no more."""
    local, unusual = augment.local, dict[str, Json]()
    if augment.views != 2:
        unusual["views"] = augment.views
    if augment.same_crop:
        unusual["same_crop"] = True
    if local.count:
        unusual["local"] = [local.count, local.size, *local.crop_area]
    return unusual


def build_batches(config: PretrainConfig, seed: int, host: int = 0, hosts: int = 1) -> Batches:
    """Builds the batches of views that one of `hosts` processes reads.

    Args:
      config: a pretraining config; reads `data.*`, `batch_size` (global), `input_size`, and the crops of `augment`.
      seed: decides order and crops.
      host, hosts: this process's number, and how many there are.

    Raises:
      UserError: the batch does not divide over the hosts, or the source is smaller than a batch, or cannot be built.
    """
    if config.batch_size % hosts:
        raise UserError(f"config key batch_size: {config.batch_size} images do not divide over {hosts} hosts")
    source, data = build_image_source(config), config.data
    if len(source) < config.batch_size:
        raise UserError(f"config key batch_size: {config.batch_size} is more than the {len(source)} images there are")
    fingerprint: dict[str, Json] = {
        "source": source.fingerprint,
        "images": len(source),
        "seed": seed,
        "batch_size": config.batch_size,
        "input_size": config.input_size,
        "crop_area": list(config.augment.crop_area),
        "crop_aspect": list(config.augment.crop_aspect),
        "lenient": data.lenient,
    } | _unusual_views(config.augment)
    if data.cache:
        source = Cached(source, data.cache * 2**20)
    views = MakeViews(source, build_view_groups(config), data.lenient)
    dataset = make_dataset(views, len(source), seed, config.batch_size, host, hosts)
    limits = (data.workers, data.threads, data.read_ahead, data.max_broken, data.start_over)
    return Batches(dataset, fingerprint, *limits, source)
