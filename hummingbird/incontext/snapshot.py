"""What a prompt knows at one moment: an immutable segment for each annotated image, and the search over them all."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float32, Int, Int32, Shaped

from hummingbird.incontext.encoded import Encoded
from hummingbird.retrieval.index.build import build_index
from hummingbird.retrieval.index.interface import Index, Neighbours
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
    """

    id: str
    encoded: Encoded
    label: Shaped[np.ndarray, "H W *C"]
    rows: Int[np.ndarray, " n"]
    columns: Mapping[str, Column]

    @property
    def keys(self) -> Float32[np.ndarray, "n D"]:
        """Features of the patches that have a label."""
        return self.encoded.features[self.rows]

    def __len__(self) -> int:
        return len(self.rows)


class Snapshot:
    """A prompt at one moment; readers keep theirs while writers make the next one.

    Args:
      segments: in the order in which they were added.
      task: kind of label.
    """

    def __init__(self, segments: tuple[Segment, ...], task: Task):
        self.segments, self.task = segments, task
        self.starts = np.cumsum([0, *map(len, segments)])
        self._lock = threading.Lock()
        self._index: Index | None = None
        self._labels: BankLabels | None = None

    def __len__(self) -> int:
        return int(self.starts[-1])

    def search(self, queries: Float32[np.ndarray, "Q D"], k: int) -> Neighbours:
        """Finds the k nearest keys of each query; see `hummingbird.retrieval.index.interface.Index.search`."""
        with self._lock:
            if self._index is None:
                self._index = build_index(np.concatenate([x.keys for x in self.segments]), "exact")
            index = self._index
        return index.search(queries, k)

    @property
    def labels(self) -> BankLabels:
        """Local labels of all keys."""
        with self._lock:
            if self._labels is None:
                columns = {name: np.concatenate([x.columns[name] for x in self.segments]) for name in self.task.columns}
                self._labels = self.task.bank_labels(columns, self.task.channels)
            return self._labels

    def place(self, key: int) -> tuple[Segment, int]:
        """Returns the segment of a key, and its patch there."""
        number = int(np.searchsorted(self.starts, key, side="right")) - 1
        segment = self.segments[number]
        return segment, int(segment.rows[key - self.starts[number]])

    def image_of(self, keys: Int32[np.ndarray, "*n"]) -> Int[np.ndarray, "*n"]:
        """Returns the number of the segment of each key."""
        return np.searchsorted(self.starts, keys, side="right") - 1
