"""Other distances between features than the cosine: L2, and features that are standardised first.

Banks of such evaluations hold features as the encoder gave them. The index gets vectors that have the same neighbours
by inner product: argmin |q - k|^2 = argmax (q, 1) . (k, -|k|^2 / 2).
"""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
from jaxtyping import Float, Float32

from hummingbird.config.evaluate import Retrieval
from hummingbird.retrieval.bank.keys import normalise
from hummingbird.retrieval.index.interface import Index, Keys, Neighbours, Queries

CHUNK = 8192  # keys converted at a time; in float64, several copies of them are held


def exact_search(retrieval: Retrieval) -> Retrieval:
    """Returns settings under which a bank of unnormalised features is searched exactly, and others as they are."""
    if not retrieval.raw_keys:
        return retrieval
    on_cpu = retrieval.index == "auto" and jax.default_backend() == "cpu"
    return dataclasses.replace(retrieval, index="exact" if on_cpu else retrieval.index, device_recall=1.0)


@dataclasses.dataclass(frozen=True)
class Space:
    """How features are compared.

    Attributes:
      distance: "cosine" or "l2".
      mean, deviation: of each feature over the bank's keys; 0 and 1 if they are not standardised.
    """

    distance: str
    mean: Float32[np.ndarray, " D"]
    deviation: Float32[np.ndarray, " D"]

    def rows(self, features: Float[np.ndarray, "N D"]) -> Float32[np.ndarray, "N D"]:
        """Returns the features that are compared, L2-normalised for the cosine."""
        rows = (np.asarray(features, np.float32) - self.mean) / self.deviation
        return normalise(rows)[0] if self.distance == "cosine" else rows

    def keys(self, features: Keys) -> Float32[np.ndarray, "M _"]:
        """Returns the keys of an index by inner product."""
        length, dim = features.shape
        l2 = self.distance == "l2"
        found = np.empty((length, dim + l2), np.float32)
        for start in range(0, length, CHUNK):
            rows = self.rows(features[start : start + CHUNK])
            found[start : start + CHUNK, :dim] = rows
            if l2:
                found[start : start + CHUNK, dim] = -np.einsum("nd,nd->n", rows, rows) / 2
        return found


def fit_space(keys: Keys, distance: str, standardise: bool) -> Space:
    """Returns the space of a bank's keys; with `standardise`, features of variance 1 over the keys (0 stays 0)."""
    dim = keys.shape[1]
    if not standardise:
        return Space(distance, np.zeros(dim, np.float32), np.ones(dim, np.float32))
    parts = [slice(start, start + CHUNK) for start in range(0, len(keys), CHUNK)]
    mean, variance = np.zeros((2, dim))
    for part in parts:
        mean += np.sum(keys[part], axis=0, dtype=np.float64) / len(keys)
    for part in parts:
        variance += np.square(np.asarray(keys[part], np.float64) - mean).sum(axis=0) / len(keys)
    deviation = np.sqrt(variance)
    return Space(distance, mean.astype(np.float32), np.where(deviation > 0, deviation, 1).astype(np.float32))


class SpaceIndex:
    """An index over the keys of a bank in another space; its similarities are cosines, whatever the distance.

    Args:
      index: exact, over `space.keys(...)`.
      space: of the features.
      half_norms: |k|^2 / 2 of each key under L2; None under the cosine.
    """

    def __init__(self, index: Index, space: Space, half_norms: Float32[np.ndarray, " M"] | None):
        self.index, self.space, self.half_norms = index, space, half_norms

    @property
    def kind(self) -> str:
        """The kind of the index."""
        return self.index.kind

    @property
    def exact(self) -> bool:
        """Whether the neighbours are those of an exact search."""
        return self.index.exact

    def search(self, queries: Queries, k: int) -> Neighbours:
        """Finds the k nearest keys, the nearest first, and their cosines; see `interface.Index.search`."""
        rows = self.space.rows(queries)
        if self.half_norms is None:
            return self.index.search(rows, k)
        ids, scores = self.index.search(np.concatenate([rows, np.ones((len(rows), 1), np.float32)], axis=1), k)
        half = self.half_norms[ids]
        lengths = np.sqrt(2 * half) * np.linalg.norm(rows, axis=1)[:, None]
        cosines = (scores + half) / np.where(lengths > 0, lengths, 1)
        return ids, np.where(ids < 0, -np.inf, cosines).astype(np.float32)
