"""Batches of any data: read ahead by Grain, in an order that the seed decides, resumable at any batch."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import grain

from hummingbird.data.broken import BrokenImages
from hummingbird.data.feed import HostShare, Reading, open_feed
from hummingbird.data.interface import Unreadable
from hummingbird.errors import UserError
from hummingbird.run.files import Json

log = logging.getLogger(__name__)

# What `Batches` yields: a dict of arrays, among them "index".
AnyBatch = TypeVar("AnyBatch", bound=Mapping[str, Any])
Made = TypeVar("Made")
MOST_IN_A_ROW = 100  # give up after this many consecutive unreadable images


class Collation(NamedTuple):
    """How items become batches.

    Attributes:
      collate: makes a batch of items.
      join: makes a batch of batches.
    """

    collate: Callable[[Sequence[Any]], Any]
    join: Callable[[Sequence[Any]], Any]


class Batches(Iterator[AnyBatch], Generic[AnyBatch]):
    """Endless, resumable iterator over batches.

    Attributes:
      fingerprint: identifies the data and their order.
    """

    def __init__(
        self,
        dataset: grain.MapDataset[Any],
        host_batch: int,
        fingerprint: Mapping[str, Json],
        reading: Reading,
        broken: BrokenImages,
        collation: Collation,
        start_over: bool = False,
    ):
        """Starts at the first batch.

        Args:
          dataset: the images of this host's batches, one after the other.
          host_batch: how many of them make a batch.
          fingerprint: as above.
          reading: how many images are read at a time.
          broken: counts the unreadable images.
          collation: how items become batches; a batch has "broken", which is counted and left out, and "index".
          start_over: `set_state` with a position in other data goes to the start of these instead of refusing.
        """
        self.fingerprint = fingerprint
        self._broken = broken
        self._dataset, self._host_batch, self._reading = dataset, host_batch, reading
        self._start_over, self._collation = start_over, collation
        self._position = 0
        self._iterator: grain.DatasetIterator[Any] | None = None

    def __iter__(self) -> Batches[AnyBatch]:
        return self

    def __next__(self) -> AnyBatch:
        if self._iterator is None:
            self._iterator = iter(self._open())
        try:
            batch = next(self._iterator)
        except RuntimeError as error:  # what Grain raises when a worker is gone
            if not self._reading.workers:
                raise
            raise RuntimeError(f"a data worker died, batch {self._position} is lost: {error}") from error
        self._broken.add(batch.pop("broken"))
        self._position += 1
        return batch

    @property
    def buffer_bytes(self) -> int:
        """Memory that views take: those prepared in advance, and two batches."""
        return (self._reading.ahead + 2 * self._host_batch) * self._reading.image_bytes

    @property
    def broken(self) -> Mapping[int, str]:
        """What is wrong with each unreadable image that was replaced, by its number."""
        return self._broken.own

    def _open(self) -> grain.IterDataset[Any]:
        """Reads from `_position` on."""
        images = self._dataset[self._position * self._host_batch :]
        return open_feed(images, self._host_batch, self._reading, *self._collation)

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
      transform: makes an item from the number of an image.
      images: number of images.
      seed: decides order and crops.
      batch_size: images in the global batch.
      host, hosts: this process's number, and how many there are.
    """
    dataset = grain.MapDataset.range(images).seed(seed).shuffle().repeat().random_map(transform)
    return HostShare(dataset, batch_size // hosts, host, hosts)


def first_readable(make: Callable[[int], Made], element: int, images: int) -> tuple[Made, int, list[tuple[int, str]]]:
    """Calls `make` with the number of an image, or with those after it until one can be read.

    Args:
      make: raises `Unreadable` for an image that it cannot read.
      element: number to begin with.
      images: how many there are; after the last comes the first.

    Returns:
      What was made, the number of its image, and (number, message) of those that it replaces.

    Raises:
      UserError: `MOST_IN_A_ROW` images are unreadable.
    """
    broken: list[tuple[int, str]] = []
    while True:
        index = (element + len(broken)) % images
        try:
            return make(index), index, broken
        except Unreadable as error:
            broken.append((index, str(error)))
            if len(broken) == MOST_IN_A_ROW:
                raise UserError(f"{MOST_IN_A_ROW} images in a row are unreadable; the first: {broken[0][1]}") from error
