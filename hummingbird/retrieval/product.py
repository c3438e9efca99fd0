"""The exact kernel of gradient features: no random projection, and so none of its noise.

A gradient is an outer product delta a^T, so the cosine of two of them is cos(delta, delta') cos(a, a'), and

    score = (cos(f, f') + sum_l cos(delta_l, delta'_l) cos(a, a')) / (L + 1)

is the limit of the cosine of features as their projections grow longer. It is not an inner product of short vectors:
exact and device indexes compute it themselves; for ScaNN, it re-scores candidates that projected features have found.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Float, Float32, Int32

from hummingbird.gradients.heads import named_key
from hummingbird.gradients.projection import tensor
from hummingbird.retrieval.bank.keys import normalise
from hummingbird.retrieval.index.device import DeviceIndex
from hummingbird.retrieval.index.exact import ExactIndex, top_k
from hummingbird.retrieval.index.interface import Index, Keys, Neighbours, Queries
from hummingbird.retrieval.index.scores import Widths, product_scores

CANDIDATES = 10  # as many candidates for each neighbour are scored by the exact kernel
ROWS = 64  # queries whose candidates are in memory at a time
CHUNK = 4096  # keys projected at a time


@dataclasses.dataclass(frozen=True)
class ProductSpace:
    """Features side by side: f, then a, then one delta for each objective.

    Attributes:
      widths: channels of f, of a, and the number of objectives.
    """

    widths: Widths

    def rows(self, features: Float[np.ndarray, "N F"]) -> Float32[np.ndarray, "N F"]:
        """Returns features with every part L2-normalised; zero gradients stay zero."""
        width, inputs, _ = self.widths
        edges = [0, width, width + inputs, *range(2 * width + inputs, features.shape[1] + 1, width)]
        parts = [normalise(features[:, start:stop])[0] for start, stop in itertools.pairwise(edges)]
        return np.concatenate(parts, axis=1)

    def proxies(self, rows: Float32[np.ndarray, "N F"]) -> Float32[np.ndarray, "N _"]:
        """Returns vectors with about the same inner products: f and projections of the gradients, L2-normalised."""
        width, inputs, _ = self.widths
        key, found = named_key(0, "candidates"), np.empty((len(rows), 0), np.float32)
        for start in range(0, len(rows), CHUNK):
            part = rows[start : start + CHUNK]
            factor = part[:, width : width + inputs]
            deltas = [part[:, at : at + width] for at in range(width + inputs, part.shape[1], width)]
            projected = [np.asarray(_project(delta, factor, width, key)) for delta in deltas]
            unit = normalise(np.concatenate([part[:, :width], *(normalise(x)[0] for x in projected)], axis=1))[0]
            found = np.empty((len(rows), unit.shape[1]), np.float32) if not start else found
            found[start : start + CHUNK] = unit
        return found


_project = jax.jit(tensor, static_argnums=2)


class ProductIndex:
    """An index by the exact kernel; its similarities are its values.

    Args:
      keys: features of a bank as the encoder gave them.
      widths: of their parts.
      kind: "exact", "device", "auto" or "scann".
      build: builds an index over proxies, for "scann".
    """

    def __init__(self, keys: Keys, widths: Widths, kind: str, build: Callable[[Keys], Index]):
        self.space = ProductSpace(widths)
        self.keys = self.space.rows(np.asarray(keys, np.float32))
        self.candidates: Index | None = None
        devices = kind == "device" or (kind == "auto" and jax.default_backend() != "cpu")
        if kind == "scann":
            self.index: Index = build(self.space.proxies(self.keys))
            self.candidates = self.index
        else:
            self.index = DeviceIndex(self.keys, widths=widths) if devices else ExactIndex(self.keys, widths=widths)

    @property
    def kind(self) -> str:
        """The kind of the index."""
        return self.index.kind

    @property
    def exact(self) -> bool:
        """Whether the neighbours are those of an exact search."""
        return self.index.exact and self.candidates is None

    def exactly(self) -> Index:
        """Returns an index over the same keys that finds all neighbours."""
        found = object.__new__(ProductIndex)
        found.__dict__.update(self.__dict__, candidates=None, index=ExactIndex(self.keys, widths=self.space.widths))
        return found

    def search(self, queries: Queries, k: int) -> Neighbours:
        """Finds the k nearest keys; see `interface.Index.search`."""
        rows = self.space.rows(np.asarray(queries, np.float32))
        if self.candidates is None:
            return self.index.search(rows, k)
        wanted = min(CANDIDATES * k, len(self.keys))
        candidates, _ = self.candidates.search(self.space.proxies(rows), wanted)
        ids, best = np.full((len(rows), k), -1, np.int32), np.full((len(rows), k), -np.inf, np.float32)
        for start in range(0, len(rows), ROWS):
            part = slice(start, start + ROWS)
            ids[part], best[part] = self._rescore(rows[part], candidates[part], k)
        return ids, best

    def _rescore(self, rows: Float32[np.ndarray, "Q F"], candidates: Int32[np.ndarray, "Q n"], k: int) -> Neighbours:
        """Returns the best of the candidates of each query by the exact kernel."""
        keys = self.keys[np.maximum(candidates, 0)]
        scores = np.stack(
            [product_scores(row[None], found, self.space.widths)[0] for row, found in zip(rows, keys, strict=True)]
        )
        scores = np.where(candidates < 0, -np.inf, scores).astype(np.float32)
        columns, best = top_k(scores, k)
        ids = np.take_along_axis(candidates, columns, axis=1)
        return np.where(np.isneginf(best), -1, ids).astype(np.int32), best
