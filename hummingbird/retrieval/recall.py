"""How many of the true neighbours an approximate index finds, measured on a sample of query patches."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Float64, Int32

from hummingbird.retrieval.index.interface import Index
from hummingbird.retrieval.selection import RECALL, stream


def pick_rows(
    features: Float32[np.ndarray, "N D"], ids: Int32[np.ndarray, "N k"], count: int, seed: int, image: int
) -> Float64[np.ndarray, "n D_plus_k"]:
    """Draws a few query patches of an image; returns their features and neighbours side by side."""
    rows = stream(seed, image, 0, RECALL).choice(len(features), min(count, len(features)), replace=False)
    return np.concatenate([features[rows], ids[rows].astype(np.float64)], axis=1)


def measure_recall(sampled: list[Float64[np.ndarray, "n D_plus_k"]], exact: Index, k: int, most: int) -> float:
    """Returns the share of the true k nearest neighbours that were found.

    Args:
      sampled: query patches with the neighbours that an index found, from `pick_rows`.
      exact: finds the true neighbours.
      k: neighbours of each patch.
      most: patches to compare.
    """
    rows = np.concatenate(sampled)[:most]
    truth, _ = exact.search(rows[:, :-k].astype(np.float32), k)
    found = rows[:, -k:].astype(np.int64)
    return float(np.mean([len(np.intersect1d(a, b)) / k for a, b in zip(truth, found, strict=True)]))
