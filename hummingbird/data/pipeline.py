"""Batches of views for pretraining: shuffled, cropped, batched and read ahead by Grain; resumable to the batch.

Every random choice depends on the seed and an image's global position in the run alone: shuffling and crops come
before the hosts' shares are cut, so that host h of H gets rows h, h + H, ... of the same global batches on any number
of hosts, workers and threads.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grain
import numpy as np
from absl import flags

from hummingbird.data import crops
from hummingbird.data.sources import Cached, ImageSource, build_image_source
from hummingbird.errors import UserError


class MakeViews(grain.transforms.RandomMap):
    """One item of a source -> two crops of it."""

    def __init__(self, size: int, area: tuple[float, float], aspect: tuple[float, float]):
        self._crop = functools.partial(crops.random_resized_crop, size=size, area=area, aspect=aspect)

    def random_map(self, element: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        image = element["image"]
        views = np.stack([self._crop(rng, image), self._crop(rng, image)])
        return {"views": views, "label": np.int32(element["label"]), "index": np.int64(element["index"])}


class Indexed:
    """A source whose items say which they are."""

    def __init__(self, source: ImageSource):
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {**self._source[index], "index": index}


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
    ):
        self._dataset = dataset
        self.fingerprint = fingerprint
        self._workers, self._threads, self._read_ahead = workers, threads, read_ahead
        self._position = 0
        self._iterator: Any = None

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        if self._iterator is None:
            self._iterator = iter(self._open())
        batch = next(self._iterator)
        if self._workers:  # out of Grain's shared memory, which is gone before the last user of an alias on a device
            batch = {name: np.array(value) for name, value in batch.items()}
        self._position += 1
        return batch

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
        return {"position": self._position, "fingerprint": self.fingerprint}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes to a place that `get_state` gave. Raises UserError if that was in other data."""
        check_fingerprint(state["fingerprint"], self.fingerprint)
        self.close()
        self._position = int(state["position"])

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
        raise UserError(f"the data differ from those the run began with: {'; '.join(differing)}; use another workdir")


def make_dataset(
    source: ImageSource,
    transform: grain.transforms.RandomMap,
    seed: int,
    batch_size: int,
    host: int = 0,
    hosts: int = 1,
    batch_fn: Callable[[Sequence[Any]], Any] | None = None,
) -> grain.MapDataset:
    """The endless sequence of this host's batches: element n is a pure function of the arguments and n."""
    dataset = grain.MapDataset.source(Indexed(source)).seed(seed).shuffle().repeat().random_map(transform)
    return dataset[host::hosts].batch(batch_size // hosts, drop_remainder=True, batch_fn=batch_fn)


def build_batches(config: Any, seed: int, host: int = 0, hosts: int = 1) -> Batches:
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
    }
    if config.data.cache:
        source = Cached(source, config.data.cache * 2**20)
    views = MakeViews(config.input_size, config.augment.crop_area, config.augment.crop_aspect)
    dataset = make_dataset(source, views, seed, config.batch_size, host, hosts)
    return Batches(dataset, fingerprint, config.data.workers, config.data.threads, config.data.read_ahead)
