"""What a prompt knows at one moment: an immutable segment for each annotated image, and the keys of them all."""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections.abc import Mapping

import jax
import numpy as np
from jaxtyping import Float32, Int, Int32, Shaped

from hummingbird.incontext.encoded import Encoded
from hummingbird.retrieval.index.build import build_index
from hummingbird.retrieval.index.interface import Index
from hummingbird.tasks import BankLabels, Task
from hummingbird.tasks.task import Column


@dataclasses.dataclass(frozen=True, eq=False)
class Segment:
    """Keys and local labels of an annotated image.

    Attributes:
      id: of the image.
      encoded: image and features.
      label: as the user gave it.
      rows: the patches that have a label.
      columns: their local labels, as a bank stores them.
      channels: how many classes or channels the label needs.
      first: number of the image's first patch among those of all images that the prompt has held.
    """

    id: str
    encoded: Encoded
    label: Shaped[np.ndarray, "H W *C"]
    rows: Int[np.ndarray, " n"]
    columns: Mapping[str, Column]
    channels: int = 1
    first: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def keys(self) -> Float32[np.ndarray, "n D"]:
        """Features of the patches that have a label."""
        return self.encoded.features[self.rows]


class Numbering:
    """Numbers for the patches of all images that a prompt has held; those of removed images are not used again.

    Attributes:
      size: the next number.
    """

    def __init__(self) -> None:
        self.size = 0

    def take(self, segment: Segment) -> Segment:
        """Returns a segment with numbers of its own."""
        first, self.size = self.size, self.size + len(segment.encoded.features)
        return dataclasses.replace(segment, first=first)


class Snapshot:
    """A prompt at one moment; readers keep theirs while writers make the next one.

    Args:
      segments: in the order of their numbers.
      task: kind of label.
      numbering: the numbers are its.
    """

    def __init__(self, segments: tuple[Segment, ...], task: Task, numbering: Numbering):
        self.segments, self.task, self.numbering = segments, task, numbering
        self._size = numbering.size  # which grows with the next image
        self._lock = threading.Lock()
        self._index: Index | None = None
        self._labels: BankLabels | None = None

    def __len__(self) -> int:
        return sum(map(len, self.segments))

    # Made when first used: a prompt of many images is filled one by one, and each makes a snapshot.
    @functools.cached_property
    def numbers(self) -> Int32[np.ndarray, " n"]:
        """Numbers of all keys, ascending."""
        return np.concatenate([np.zeros(0, np.int32), *(x.rows + x.first for x in self.segments)]).astype(np.int32)

    @functools.cached_property
    def rows(self) -> Int32[np.ndarray, " size"]:
        """Says for each number which key it is; -1 if it is none."""
        rows = np.full(self._size, -1, np.int32)
        rows[self.numbers] = np.arange(len(self.numbers), dtype=np.int32)
        return rows

    @property
    def index(self) -> Index:
        """Index over all keys; built when it is first used."""
        with self._lock:
            if self._index is None:
                kind = "exact" if jax.default_backend() == "cpu" else "auto"  # the devices', if they have the memory
                self._index = build_index(np.concatenate([x.keys for x in self.segments]), kind)
            return self._index

    @property
    def labels(self) -> BankLabels:
        """Local labels of all keys."""
        with self._lock:
            if self._labels is None:
                columns = {name: np.concatenate([x.columns[name] for x in self.segments]) for name in self.task.columns}
                self._labels = self.task.bank_labels(columns, self.task.channels)
            return self._labels

    @functools.cached_property
    def classes(self) -> tuple[int, ...]:
        """Class numbers of all annotated pixels, ascending; empty without classes."""
        if not self.task.has_classes:
            return ()
        return tuple(sorted({int(c) for x in self.segments for c in np.unique(x.columns["label_classes"])}))

    def keys(self, numbers: Int32[np.ndarray, "N m"]) -> Int32[np.ndarray, "N m"]:
        """Returns which keys the numbers belong to; -1 for -1."""
        return np.where(numbers >= 0, self.rows[numbers], -1)

    def features(self, numbers: Int32[np.ndarray, " n"]) -> Float32[np.ndarray, "n D"]:
        """Returns the features of patches, given their numbers in ascending order."""
        starts = np.searchsorted(numbers, [x.first for x in self.segments])
        parts = np.split(numbers, starts[1:])
        return np.concatenate([x.encoded.features[n - x.first] for x, n in zip(self.segments, parts, strict=True)])

    def place(self, number: int) -> tuple[Segment, int]:
        """Returns the segment of a number, and its patch there."""
        segment = next(x for x in self.segments if x.first <= number < x.first + len(x.encoded.features))
        return segment, number - segment.first
