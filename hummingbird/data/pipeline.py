"""Batches of views for pretraining: shuffled, cropped, batched and read ahead by Grain; resumable to the batch.

Every random choice depends on the seed and an image's global position in the run alone: shuffling and crops come
before the hosts' shares are cut, so that host h of H gets the h-th part of every global batch, in its order, on any
number of hosts, workers and threads: put together in the order of the hosts the parts are the batch of one host.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import grain
import numpy as np
from absl import flags

from hummingbird.config import PretrainConfig
from hummingbird.data import crops
from hummingbird.data.interface import ImageSource, Unreadable, image_name
from hummingbird.data.sources import Cached, build_image_source
from hummingbird.errors import UserError

log = logging.getLogger(__name__)

MOST_IN_A_ROW = 100  # unreadable images one after the other, after which reading on is pointless


class MakeViews(grain.transforms.RandomMap):
    """The number of an image -> two crops of it, or of the next one that can be read, and what was wrong with it."""

    def __init__(
        self,
        source: ImageSource,
        size: int,
        area: tuple[float, float],
        aspect: tuple[float, float],
        lenient: bool = False,
    ):
        self._source = source
        self._crop = functools.partial(crops.crop_views, size=size, area=area, aspect=aspect, lenient=lenient)

    def random_map(self, element: int, rng: np.random.Generator) -> dict[str, Any]:
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


def collate(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Arrays of a batch, and all (index, message) of images that could not be read."""
    return {
        "views": np.stack([item["views"] for item in items]),
        "label": np.array([item["label"] for item in items], np.int32),
        "index": np.array([item["index"] for item in items], np.int64),
        "broken": [entry for item in items for entry in item["broken"]],
    }


class Batches(Iterator[dict[str, np.ndarray]]):
    """An endless iterator over batches that knows its place.

    Items: {"views": uint8 [b, 2, S, S, 3], "label": int32 [b], "index": int64 [b] (into the source)} for the b images
    of this host.
    """

    def __init__(
        self,
        dataset: grain.MapDataset,
        fingerprint: dict[str, Any],
        workers: int = 0,
        threads: int = 4,
        read_ahead: int = 4,
        max_broken: int = 0,
        start_over: bool = False,
    ):
        """`dataset` holds what `collate` makes; `max_broken` different images may be unreadable.

        `start_over`: `set_state` with a place in other data goes to the start of these instead of refusing.
        """
        self._start_over = start_over
        self._dataset = dataset
        self.broken: dict[int, str] = {}  # by number of the image, what is wrong with it
        self._max_broken = max_broken
        self.fingerprint = fingerprint
        self._workers, self._threads, self._read_ahead = workers, threads, read_ahead
        self._position = 0
        self._iterator: Any = None

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        if self._iterator is None:
            self._iterator = iter(self._open())
        try:
            batch = next(self._iterator)
        except RuntimeError as error:  # Grain's word for a worker that is gone
            if not self._workers:
                raise
            raise RuntimeError(f"a data worker died, batch {self._position} is lost: {error}") from error
        for index, message in batch.pop("broken"):
            self._count_broken(int(index), str(message))
        if self._workers:  # out of Grain's shared memory, which is gone before the last user of an alias on a device
            batch = {name: np.array(value) for name, value in batch.items()}
        self._position += 1
        return batch

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

    def _open(self) -> grain.IterDataset:
        """Reads on from `_position`. Worker w makes batches w, w + workers, ...; they are handed out in order."""
        ahead = self._read_ahead if self._threads else 0
        options = grain.ReadOptions(num_threads=min(self._threads, ahead), prefetch_buffer_size=ahead)
        dataset = self._dataset[self._position :].to_iter_dataset(options)
        if self._workers:
            if not flags.FLAGS.is_parsed():  # Grain hands absl's flags to its workers, even where nobody uses them
                flags.FLAGS.mark_as_parsed()
            processes = grain.MultiprocessingOptions(num_workers=self._workers, per_worker_buffer_size=max(1, ahead))
            dataset = dataset.mp_prefetch(processes)
        return dataset

    def get_state(self) -> dict[str, Any]:
        """The place in the data, to be saved as JSON; the same for any number of hosts, workers and threads."""
        broken = [[index, message] for index, message in sorted(self.broken.items())]
        return {"position": self._position, "fingerprint": self.fingerprint, "broken": broken}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes to a place that `get_state` gave. Raises UserError if that was in other data (see `start_over`)."""
        try:
            check_fingerprint(state["fingerprint"], self.fingerprint)
        except UserError as error:
            if not self._start_over:
                raise
            log.warning("%s: they begin anew", str(error).partition("; to go on")[0])
            state = {"position": 0, "broken": []}
        self.close()
        self._position = int(state["position"])
        self.broken = {int(index): str(message) for index, message in state["broken"]}

    def close(self) -> None:
        """Stops reading ahead and ends the workers."""
        if self._iterator is not None:
            self._iterator.close()
            self._iterator = None


def check_fingerprint(saved: dict[str, Any], current: dict[str, Any]) -> None:
    """Refuses to go on in other data than a run began with: the batches would silently be others."""
    keys = sorted(set(saved) | set(current))
    differing = [
        f"{key} was {json.dumps(saved.get(key))}, is {json.dumps(current.get(key))}"
        for key in keys
        if json.dumps(saved.get(key)) != json.dumps(current.get(key))
    ]
    if differing:
        raise UserError(
            f"the data differ from those the run began with: {'; '.join(differing)}; to go on with the new ones from"
            " their start set data.start_over=true, else use another workdir"
        )


def make_dataset(
    transform: grain.transforms.RandomMap, images: int, seed: int, batch_size: int, host: int = 0, hosts: int = 1
) -> grain.MapDataset:
    """The endless sequence of this host's batches: element n is a pure function of the arguments and n.

    `transform` makes an item, as `collate` takes them, from the number of an image.
    """
    dataset = grain.MapDataset.range(images).seed(seed).shuffle().repeat().random_map(transform)
    return dataset.batch(batch_size // hosts, drop_remainder=True, batch_fn=collate)[host::hosts]


def build_batches(config: PretrainConfig, seed: int, host: int = 0, hosts: int = 1) -> Batches:
    """Batches of two views, for one of `hosts` processes.

    Args:
      config: a pretraining config; reads `data.*`, `batch_size` (global), `input_size`, `augment.crop_*`.
      seed: decides order and crops.
      host, hosts: this process's number and how many there are.

    Raises:
      UserError: the batch does not divide over the hosts, or the source is smaller than a batch, or as the source does.
    """
    if config.batch_size % hosts:
        raise UserError(f"config key batch_size: {config.batch_size} images do not divide over {hosts} hosts")
    source = build_image_source(config)
    if len(source) < config.batch_size:
        raise UserError(f"config key batch_size: {config.batch_size} is more than the {len(source)} images there are")
    fingerprint = {
        "source": source.fingerprint,
        "images": len(source),
        "seed": seed,
        "batch_size": config.batch_size,
        "input_size": config.input_size,
        "crop_area": list(config.augment.crop_area),
        "crop_aspect": list(config.augment.crop_aspect),
        "lenient": config.data.lenient,
    }
    if config.data.cache:
        source = Cached(source, config.data.cache * 2**20)
    area, aspect = config.augment.crop_area, config.augment.crop_aspect
    views = MakeViews(source, config.input_size, area, aspect, config.data.lenient)
    dataset = make_dataset(views, len(source), seed, config.batch_size, host, hosts)
    data = config.data
    return Batches(dataset, fingerprint, data.workers, data.threads, data.read_ahead, data.max_broken, data.start_over)
