"""Local labels of patches: what each entry of the memory bank says about its pixels (Sec. 3.1).

A patch of 256 pixels holds a few classes, so the bank keeps pixel counts per class, sparse and without loss, never
[M, C] floats. Void pixels are in no count: they never vote.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from hummingbird.errors import UserError


def patch_labels(mask: Any, patch: int, num_classes: int, ignore: int = 255) -> np.ndarray:
    """Mean of the one-hot pixel labels over the valid pixels of each patch, the l_j of Sec. 3.1.

    Args:
      mask: integer class ids [B, H, W] (or one mask [H, W], which gives [h, w, C]).
      patch: patch side in pixels; divides H and W.
      num_classes: C; ids must lie in 0..C-1 or be `ignore`.
      ignore: id of void pixels, left out of the mean.

    Returns:
      float32 [B, h, w, C]; rows sum to 1, or are 0 where every pixel is void.

    Raises:
      UserError: an id out of range, or a size that is no multiple of `patch`.
    """
    mask = np.asarray(mask)
    if mask.ndim == 2:
        return patch_labels(mask[None], patch, num_classes, ignore)[0]
    height, width = mask.shape[1] // patch, mask.shape[2] // patch
    counts = np.stack([patch_counts(m, patch, num_classes, ignore) for m in mask]).astype(np.float32)
    labels = counts / np.maximum(counts.sum(-1, keepdims=True), 1)
    return labels.reshape(len(mask), height, width, num_classes)


def patch_counts(mask: np.ndarray, patch: int, num_classes: int, ignore: int = 255) -> np.ndarray:
    """Valid pixels of each class in each patch: class ids [H, W] -> int64 [h*w, C]."""
    check_classes(mask, num_classes, ignore)
    index = _patch_index(mask.shape[0], mask.shape[1], patch)
    # Void pixels are counted as class C, which is cut off.
    classes = np.where(mask == ignore, num_classes, mask).astype(np.int64)
    patches = (mask.shape[0] // patch) * (mask.shape[1] // patch)
    counts = np.bincount((index * (num_classes + 1) + classes).ravel(), minlength=patches * (num_classes + 1))
    return counts.reshape(patches, num_classes + 1)[:, :num_classes]


def check_classes(mask: np.ndarray, num_classes: int, ignore: int, name: str = "label mask") -> None:
    """UserError if `mask` holds an id that is neither 0..C-1 nor `ignore`."""
    wrong = (mask != ignore) & ((mask < 0) | (mask >= num_classes))
    if wrong.any():
        found = np.unique(mask[wrong])[:5].tolist()
        raise UserError(
            f"{name}: class ids {found} are neither 0..{num_classes - 1} nor void ({ignore}); check the class count"
        )


def patch_depth(depth: np.ndarray, patch: int, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the valid depths of each patch (App. A.1).

    Args:
      depth: metres [H, W]; values that are not finite or outside [low, high] are invalid.

    Returns:
      Mean depth float32 [h*w] (0 where no pixel is valid) and the number of valid pixels int64 [h*w].
    """
    valid = valid_depth(depth, low, high)
    index = _patch_index(depth.shape[0], depth.shape[1], patch).ravel()
    patches = (depth.shape[0] // patch) * (depth.shape[1] // patch)
    counts = np.bincount(index, weights=valid.ravel(), minlength=patches).astype(np.int64)
    sums = np.bincount(index, weights=np.where(valid, depth, 0.0).ravel(), minlength=patches)
    return (sums / np.maximum(counts, 1)).astype(np.float32), counts


def valid_depth(depth: np.ndarray, low: float, high: float) -> np.ndarray:
    """Pixels with a measured depth within [low, high] metres, bool like `depth`."""
    return np.isfinite(depth) & (depth >= low) & (depth <= high)


@functools.lru_cache(maxsize=8)
def _patch_index(height: int, width: int, patch: int) -> np.ndarray:
    """Number of the patch that each pixel lies in, int64 [H, W]."""
    if height % patch or width % patch:
        raise UserError(f"label size {height}x{width} is no multiple of the patch size {patch}")
    columns = width // patch
    rows = np.arange(height) // patch
    return rows[:, None] * columns + np.arange(width) // patch


def sparse_counts(counts: np.ndarray, pixels: int) -> dict[str, np.ndarray]:
    """Dense pixel counts [n, C] as columns: classes in each patch [n], class ids [nnz] and their pixels [nnz].

    Args:
      pixels: pixels in a patch; decides the integer type of the counts.
    """
    rows, classes = np.nonzero(counts)
    return {
        "label_lengths": np.bincount(rows, minlength=len(counts)).astype(np.uint16),
        "label_classes": classes.astype(np.uint8 if counts.shape[1] <= 256 else np.uint16),
        "label_counts": counts[rows, classes].astype(np.uint16 if pixels < 2**16 else np.uint32),
    }


class ClassLabels:
    """Sparse pixel counts of M patches over C classes (compressed rows), and how they vote.

    Attributes:
      offsets: int64 [M + 1]; entry j owns classes[offsets[j]:offsets[j + 1]].
      classes: uint8 or uint16 [nnz]. counts: uint16 (uint32 for patches above 65,535 pixels) [nnz].
      totals: float32 [M], valid pixels of each patch.
    """

    task = "segmentation"

    def __init__(self, num_classes: int, lengths: np.ndarray, classes: np.ndarray, counts: np.ndarray):
        self.num_outputs = num_classes
        self.offsets = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=self.offsets[1:])
        self.classes, self.counts = classes, counts
        # No patch is empty, so that every row of the sum has a first element.
        self.totals = np.add.reduceat(counts, self.offsets[:-1], dtype=np.float32)

    @classmethod
    def from_counts(cls, counts: np.ndarray) -> ClassLabels:
        """From dense counts [M, C]; no row is all 0."""
        columns = sparse_counts(counts, int(counts.max()))
        return cls(counts.shape[1], *columns.values())

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def nbytes(self) -> int:
        return sum(a.nbytes for a in (self.offsets, self.classes, self.counts, self.totals))

    def vote(self, ids: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Sum of weights times local labels, the second half of Eq. 1: ids, weights [Q, k] -> float32 [Q, C].

        Ids of -1 do not vote. Sums are taken in float64.
        """
        queries, neighbours = ids.shape
        found = ids.ravel() >= 0
        entries = np.where(found, ids.ravel(), 0)
        starts = self.offsets[entries]
        lengths = np.where(found, self.offsets[entries + 1] - starts, 0)
        # Positions in `classes` of every neighbour's run of classes, one after the other.
        ends = np.cumsum(lengths)
        position = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - lengths), lengths)
        share = weights.ravel() / np.maximum(self.totals[entries], 1)
        cell = np.repeat(np.repeat(np.arange(queries), neighbours) * self.num_outputs, lengths)
        cell += self.classes[position]
        votes = np.repeat(share, lengths) * self.counts[position]
        dense = np.bincount(cell, weights=votes, minlength=queries * self.num_outputs)
        return dense.reshape(queries, self.num_outputs).astype(np.float32)

    def take(self, rows: np.ndarray) -> ClassLabels:
        """Labels of the entries `rows` int [n], in that order."""
        lengths = self.offsets[rows + 1] - self.offsets[rows]
        position = np.arange(lengths.sum()) + np.repeat(self.offsets[rows] - (np.cumsum(lengths) - lengths), lengths)
        return ClassLabels(self.num_outputs, lengths, self.classes[position], self.counts[position])

    def dense(self, ids: np.ndarray) -> np.ndarray:
        """Pixel counts of single entries: ids [n] -> int64 [n, C]."""
        rows = np.zeros((len(ids), self.num_outputs), np.int64)
        for row, j in enumerate(ids):
            run = slice(self.offsets[j], self.offsets[j + 1])
            rows[row, self.classes[run]] = self.counts[run]
        return rows


class DepthLabels:
    """Mean valid depth of M patches, float32 metres [M], and how they vote."""

    task = "depth"
    num_outputs = 1

    def __init__(self, depth: np.ndarray):
        self.depth = depth

    def __len__(self) -> int:
        return len(self.depth)

    @property
    def nbytes(self) -> int:
        return self.depth.nbytes

    def vote(self, ids: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Sum of weights times depths (Eq. 1): ids, weights [Q, k] -> float32 [Q, 1]. Ids of -1 do not vote."""
        depth = np.where(ids >= 0, self.depth[ids], 0.0).astype(np.float64)
        return np.einsum("qk,qk->q", weights, depth)[:, None].astype(np.float32)

    def take(self, rows: np.ndarray) -> DepthLabels:
        """Labels of the entries `rows` int [n], in that order."""
        return DepthLabels(self.depth[rows])
