"""k-NN classification: scikit-learn's majority vote, and DINO's weighted vote."""

from __future__ import annotations

import jax
import numpy as np
from jaxtyping import Float, Float32, Int, Int32

from hummingbird.retrieval.index.build import build_index
from hummingbird.retrieval.index.interface import Neighbours
from hummingbird.retrieval.processes import gather_columns, own_slice
from hummingbird.retrieval.recognition.scores import TOP, best_first

QUERIES = 1024  # whose votes are counted at a time: a row has a number for each class
CHUNK = 65_536  # keys converted at a time


def nearest(
    keys: Float32[np.ndarray, "M D"],
    queries: Float32[np.ndarray, "Q D"],
    k: int,
    distance: str,
    index: str = "auto",
    key_dtype: str = "float32",
) -> Neighbours:
    """Finds the k nearest keys of each query, exactly: on the devices where they are accelerators, else in NumPy.

    Args:
      keys, queries: features; L2-normalised for the cosine.
      k: neighbours.
      distance: "cosine" or "l2". Under L2 argmin |q - k|^2 = argmax (q, 1) . (k, -|k|^2 / 2).
      index: "auto", "exact" or "device".
      key_dtype: "bfloat16" halves the memory of the keys; L2 is searched in float32 in any case.

    Returns:
      Numbers of the keys [Q, k], best first, and cosines or negative squared distances.
    """
    if distance == "cosine":
        return build_index(keys.astype(key_dtype, copy=False), index, unit=False, neighbours=k).search(queries, k)
    centre = keys.mean(axis=0, dtype=np.float64).astype(np.float32)  # distances keep, and cancel less
    augmented = np.empty((len(keys), keys.shape[1] + 1), np.float32)
    for start in range(0, len(keys), CHUNK):
        part = augmented[start : start + CHUNK]
        part[:, :-1] = keys[start : start + CHUNK] - centre
        part[:, -1] = -np.einsum("nd,nd->n", part[:, :-1], part[:, :-1]) / 2
    asked = np.concatenate([queries - centre, np.ones((len(queries), 1), np.float32)], axis=1)
    ids, scores = build_index(augmented, index, unit=False, neighbours=k).search(asked, k)
    squares = np.einsum("nd,nd->n", asked[:, :-1], asked[:, :-1])
    return ids, (2 * scores - squares[:, None]).astype(np.float32)


def index_kind(setting: str) -> str:
    """Returns the kind of index that a setting means here: auto is device on accelerators, else exact."""
    return setting if setting != "auto" else "exact" if jax.default_backend() == "cpu" else "device"


def search(
    keys: Float32[np.ndarray, "M D"], queries: Float32[np.ndarray, "Q D"], k: int, distance: str, index: str, dtype: str
) -> Neighbours:
    """Finds neighbours as `nearest` does; of several processes, each searches those of its part of the queries."""
    part = own_slice(len(queries), jax.process_index())
    ids, scores = nearest(keys, queries[part], k, distance, index, dtype)
    whole = (
        gather_columns({"ids": ids, "scores": scores}) if jax.process_count() > 1 else {"ids": ids, "scores": scores}
    )
    return whole["ids"], whole["scores"]


def count_votes(
    labels: Int32[np.ndarray, "Q k"], weights: Float[np.ndarray, "Q k"], classes: int
) -> Float[np.ndarray, "Q C"]:
    """Returns the sum of the weights that each class gets."""
    rows = np.arange(len(labels))[:, None] * np.int64(classes)
    sums = np.bincount((rows + labels).ravel(), weights.ravel(), minlength=len(labels) * classes)
    return sums.reshape(len(labels), classes)


def majority(labels: Int32[np.ndarray, "Q k"], classes: int) -> Int[np.ndarray, " Q"]:
    """Returns the most frequent class among the neighbours; of equally frequent ones the smallest id (scikit-learn).

    Example:
      >>> majority(np.array([[2, 1, 1, 2], [0, 2, 2, 1]], np.int32), classes=3)
      array([1, 2])
    """
    parts = (labels[start : start + QUERIES] for start in range(0, len(labels), QUERIES))
    return np.concatenate([count_votes(part, np.ones(part.shape), classes).argmax(axis=1) for part in parts])


def weighted(
    labels: Int32[np.ndarray, "Q k"], cosines: Float32[np.ndarray, "Q k"], classes: int, temperature: float
) -> Int[np.ndarray, "Q n"]:
    """Ranks classes by DINO's vote: each neighbour votes for its class with the weight exp(cosine / temperature).

    The weights are divided by the largest one of a query, which keeps their ranking and does not overflow.

    Args:
      labels: classes of the neighbours, nearest first.
      cosines: to the neighbours.
      classes: number of classes.
      temperature: T.

    Returns:
      The best classes, at most five, best first.

    Example:
      >>> weighted(np.array([[0, 1, 1]], np.int32), np.array([[0.9, 0.8, 0.8]], np.float32), 2, temperature=0.1)
      array([[0, 1]])
    """
    weights = np.exp((cosines.astype(np.float64) - cosines[:, :1]) / temperature)
    parts = [slice(start, start + QUERIES) for start in range(0, len(labels), QUERIES)]
    return np.concatenate([best_first(count_votes(labels[part], weights[part], classes), TOP) for part in parts])
