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
from jaxtyping import Int32, Int64, UInt8

from hummingbird.config import PretrainConfig
from hummingbird.config.data import Augment
from hummingbird.data import crops
from hummingbird.data.broken import BrokenImages, build_broken_images
from hummingbird.data.feed import HostShare, Reading, build_reading, open_feed
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


def join(parts: Sequence[Collated]) -> Collated:
    """Concatenates batches."""
    return {
        "views": {name: np.concatenate([part["views"][name] for part in parts]) for name in parts[0]["views"]},
        "label": np.concatenate([part["label"] for part in parts]),
        "index": np.concatenate([part["index"] for part in parts]),
        "broken": [entry for part in parts for entry in part["broken"]],
    }


class Batches(Iterator[HostBatch]):
    """Endless, resumable iterator over batches.

    Attributes:
      source: all images, of which this host reads some.
      fingerprint: identifies the data and their order.
    """

    def __init__(
        self,
        source: ImageSource,
        dataset: grain.MapDataset[Views],
        host_batch: int,
        fingerprint: Mapping[str, Json],
        reading: Reading,
        broken: BrokenImages,
        start_over: bool = False,
    ):
        """Starts at the first batch.

        Args:
          source: all images.
          dataset: the images of this host's batches, one after the other.
          host_batch: how many of them make a batch.
          fingerprint: as above.
          reading: how many images are read at a time.
          broken: counts the unreadable images.
          start_over: `set_state` with a position in other data goes to the start of these instead of refusing.
        """
        self.source, self.fingerprint = source, fingerprint
        self._broken = broken
        self._dataset, self._host_batch, self._reading = dataset, host_batch, reading
        self._start_over = start_over
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
            if not self._reading.workers:
                raise
            raise RuntimeError(f"a data worker died, batch {self._position} is lost: {error}") from error
        self._broken.add(batch["broken"])
        self._position += 1
        return {"views": batch["views"], "label": batch["label"], "index": batch["index"]}

    def some_labels(self, count: int = 8) -> Int32[np.ndarray, " n"]:
        """Returns the labels of at most `count` images spread over the source, without those that cannot be read."""
        found: list[int] = []
        images = len(self.source)
        for index in np.linspace(0, images - 1, min(count, images)).astype(int):
            with contextlib.suppress(Unreadable):
                found.append(self.source[int(index)]["label"])
        return np.array(found, np.int32)

    @property
    def buffer_bytes(self) -> int:
        """Memory that views take: those prepared in advance, and two batches."""
        return (self._reading.ahead + 2 * self._host_batch) * self._reading.image_bytes

    @property
    def broken(self) -> Mapping[int, str]:
        """What is wrong with each unreadable image that was replaced, by its number."""
        return self._broken.own

    def _open(self) -> grain.IterDataset[Collated]:
        """Reads from `_position` on."""
        images = self._dataset[self._position * self._host_batch :]
        return open_feed(images, self._host_batch, self._reading, collate, join)

    def get_state(self) -> dict[str, Json]:
        """Returns the position in the data, to be saved as JSON; independent of hosts, workers and threads."""
        return {"position": self._position, "fingerprint": self.fingerprint, "broken": self._broken.get_state()}

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
        self._broken.set_state(state["broken"])

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
    """Makes the endless sequence of the images in a host's batches: image n is a function of the arguments and n.

    Args:
      transform: makes an item, as `collate` takes it, from the number of an image.
      images: number of images.
      seed: decides order and crops.
      batch_size: images in the global batch.
      host, hosts: this process's number, and how many there are.
    """
    dataset = grain.MapDataset.range(images).seed(seed).shuffle().repeat().random_map(transform)
    return HostShare(dataset, batch_size // hosts, host, hosts)


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


def build_batches(
    config: PretrainConfig, seed: int, host: int = 0, hosts: int = 1, source: ImageSource | None = None
) -> Batches:
    """Builds the batches of views that one of `hosts` processes reads.

    Args:
      config: a pretraining config; reads `data.*`, `batch_size` (global), `input_size`, and the crops of `augment`.
      seed: decides order and crops.
      host, hosts: this process's number, and how many there are.
      source: the images, if they are there already; None: built here.

    Raises:
      UserError: the batch does not divide over the hosts, or the source is smaller than a batch, or cannot be built.
    """
    if config.batch_size % hosts:
        raise UserError(f"config key batch_size: {config.batch_size} images do not divide over {hosts} hosts")
    data = config.data
    if source is None:
        source = build_image_source(config)
        if data.cache:
            source = Cached(source, data.cache << 20)
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
    groups, host_batch = build_view_groups(config), config.batch_size // hosts
    dataset = make_dataset(MakeViews(source, groups, data.lenient), len(source), seed, config.batch_size, host, hosts)
    image_bytes = sum(group.count * group.size**2 * 3 for group in groups.values())
    reading = build_reading(data, host_batch, image_bytes, getattr(source, "remote", False))
    broken = build_broken_images(data, len(source))
    return Batches(source, dataset, host_batch, fingerprint, reading, broken, data.start_over)
