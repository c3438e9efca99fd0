"""Labels of single pixels in a memory bank: each neighbour votes pixel by pixel, as in CAPI's patch k-NN."""

# NumPy's own annotations are partly unknown.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32, Int, UInt

from hummingbird.tasks.task import Column

COLUMNS = ("label_pixels",)


class PixelLabels:
    """Class ids of the P pixels of M patches; see `hummingbird.tasks.task.BankLabels`.

    Args:
      pixels: class ids, row by row.
      first: class that wins ties; None: the lowest.
    """

    def __init__(self, pixels: UInt[np.ndarray, "M P"], first: int | None = None):
        self.pixels, self.first = pixels, first

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def nbytes(self) -> int:
        return self.pixels.nbytes

    def columns(self) -> dict[str, Column]:
        """Returns the arrays to store."""
        return {"label_pixels": self.pixels}

    def vote(self, ids: Int[np.ndarray, "Q k"], weights: Float[np.ndarray, "Q k"]) -> Float32[np.ndarray, "Q P"]:
        """Returns the most frequent class among the neighbours' labels of each pixel; ids of -1 do not vote.

        Neighbours count alike, whatever their weights.
        """
        labels = self.pixels[ids].astype(np.int32)
        labels[ids < 0] = -1
        return most_frequent(labels, self.first).astype(np.float32)

    def take(self, rows: Int[np.ndarray, " n"]) -> PixelLabels:
        """Returns the labels of the entries `rows`, in that order, copied."""
        return PixelLabels(self.pixels[rows], self.first)

    def describe(self, entry: int) -> tuple[int | float, float]:
        """Returns the class that most pixels of the entry have (the lowest on ties), and their share."""
        counts = np.bincount(self.pixels[entry])
        return int(counts.argmax()), float(counts.max() / counts.sum())


def most_frequent(labels: Int[np.ndarray, "Q k P"], first: int | None = None) -> Int[np.ndarray, "Q P"]:
    """Returns the most frequent of k class ids; on ties `first`, else the lowest. Negative ids do not count.

    Example:
      >>> most_frequent(np.array([[[2], [0], [2]], [[1], [0], [-1]]])).tolist()
      [[2], [0]]
      >>> most_frequent(np.array([[[1], [0], [2]]]), first=2).tolist()
      [[2]]
    """
    if first is not None:
        found = most_frequent(np.where(labels == first, 0, labels + (labels >= 0)))
        return np.where(found == 0, first, found - (found > 0))
    ordered = np.sort(labels, axis=1)
    place = np.arange(labels.shape[1])[None, :, None]
    starts = np.ones(ordered.shape, bool)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    # The length that a run of equal ids has reached at each place.
    length = place - np.maximum.accumulate(np.where(starts, place, 0), axis=1) + 1
    best = np.where(ordered < 0, 0, length).argmax(axis=1)
    return np.take_along_axis(ordered, best[:, None], axis=1)[:, 0]
