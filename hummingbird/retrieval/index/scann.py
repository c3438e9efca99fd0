"""Search with ScaNN: tree, asymmetric hashing and exact re-scoring (App. A.2, Table 6). `scann_build` builds the index.

Pitfalls of ScaNN:

1. A NaN key crashes the process while ScaNN builds a tree.
2. Fewer keys than leaves raises.
3. Missing neighbours are padded with id 0 and similarity NaN.
4. Serialised searchers hold absolute paths unless relative ones are requested.
5. `import scann` loads TensorFlow's runtime and may fail with any exception, not only ImportError.
"""

from __future__ import annotations

import concurrent.futures
import functools
import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32, Int32

from hummingbird.errors import UserError, first_line
from hummingbird.retrieval.index.exact import top_k
from hummingbird.retrieval.index.interface import Keys, Neighbours, Queries
from hummingbird.retrieval.index.settings import ScannSettings
from hummingbird.retrieval.threads import cpu_count

BATCH = 1024  # queries that each thread answers at a time


class Found(NamedTuple):
    """Whether ScaNN can be used.

    Attributes:
      module: ScaNN's NumPy interface; None if it cannot be imported.
      problem: why it cannot be imported; empty if it can.
      installed: whether the package is there, working or not.
    """

    module: ModuleType | None
    problem: str
    installed: bool


@functools.cache
def find_scann() -> Found:
    """Imports ScaNN's NumPy interface once, whatever the import may raise."""
    try:
        return Found(importlib.import_module("scann.scann_ops.py.scann_ops_pybind"), "", True)
    except Exception as error:  # such as NotFoundError beside a TensorFlow of another ABI
        if isinstance(error, ModuleNotFoundError) and error.name == "scann":
            return Found(None, "scann is not installed", False)
        return Found(None, f"scann cannot be imported ({type(error).__name__}: {first_line(error)})", True)


@runtime_checkable
class Searcher(Protocol):
    """The part of ScaNN's searchers that is used here."""

    def search_batched_parallel(
        self,
        queries: Queries,
        final_num_neighbors: int,
        pre_reorder_num_neighbors: int,
        leaves_to_search: int | None,
        batch_size: int,
    ) -> tuple[np.ndarray, np.ndarray]: ...


class ScannIndex:
    """ScaNN searchers over consecutive shards of the keys; see `interface.Index`.

    Args:
      searchers: one per shard. A single one re-scores its own candidates.
      starts: number of the first key of each shard, followed by the number of keys.
      keys: re-score the candidates of several shards.
      settings: how to search; what the searchers were trained with is not read.
    """

    kind, exact = "scann", False

    def __init__(self, searchers: Sequence[Searcher], starts: Sequence[int], keys: Keys, settings: ScannSettings):
        self.searchers, self.starts, self.keys = searchers, starts, keys
        self.reorder = settings.reorder
        self.leaves_to_search = None if settings.autopilot else settings.leaves_to_search

    def retuned(self, settings: ScannSettings) -> ScannIndex:
        """Returns the same index with other settings of the search."""
        return ScannIndex(self.searchers, self.starts, self.keys, settings)

    def search(self, queries: Queries, k: int) -> Neighbours:
        """See `interface.Index.search`; UserError if a query is NaN or infinite."""
        queries = np.ascontiguousarray(queries, np.float32)
        if not np.isfinite(queries).all():
            raise UserError("index queries: NaN or infinite values; check the encoder")
        if len(self.searchers) == 1:
            return _padded(*self._candidates(0, queries, k, max(self.reorder, k)), k)
        ids = np.full((len(queries), k), -1, np.int32)
        best = np.full((len(queries), k), -np.inf, np.float32)
        for start in range(0, len(queries), 2 * BATCH):
            part = slice(start, start + 2 * BATCH)
            ids[part], best[part] = self._search_shards(queries[part], k)
        return ids, best

    def _candidates(self, shard: int, queries: Queries, wanted: int, reorder: int) -> Neighbours:
        """Finds at most `wanted` keys of one shard for each query; -1 and -inf where there are fewer."""
        wanted = min(wanted, self.starts[shard + 1] - self.starts[shard])
        found, similarity = self.searchers[shard].search_batched_parallel(
            queries,
            final_num_neighbors=wanted,
            pre_reorder_num_neighbors=max(reorder, wanted),
            leaves_to_search=self.leaves_to_search,
            batch_size=max(1, min(BATCH, -(-len(queries) // cpu_count()))),  # every thread gets some
        )
        missing = np.isnan(similarity)
        ids = np.where(missing, -1, found.astype(np.int64) + self.starts[shard]).astype(np.int32)
        return ids, np.where(missing, -np.inf, similarity).astype(np.float32)

    def _search_shards(self, queries: Queries, k: int) -> Neighbours:
        """Re-scores the best candidates of all shards from the keys."""
        wanted = max(self.reorder, k)
        found = [self._candidates(shard, queries, wanted, wanted) for shard in range(len(self.searchers))]
        ids, rough = (np.concatenate(parts, axis=1) for parts in zip(*found, strict=True))
        column, _ = top_k(rough, wanted)
        ids = np.take_along_axis(ids, column, axis=1)
        similarity = np.where(ids >= 0, rescore(queries, self.keys, np.maximum(ids, 0)), np.float32(-np.inf))
        column, similarity = top_k(similarity, k)
        return _padded(np.take_along_axis(ids, column, axis=1), similarity, k)


def rescore(
    queries: Float32[np.ndarray, "Q D"], keys: Keys, ids: Int32[np.ndarray, "Q n"], block: int = 256
) -> Float32[np.ndarray, "Q n"]:
    """Returns the inner products of each query with the keys `ids`.

    Each thread widens `block` keys at a time, few enough to stay in its cache: whole queries take five times as long.
    """
    found = np.empty(ids.shape, np.float32)

    def fill(rows: np.ndarray) -> None:
        wide = np.empty((min(block, ids.shape[1]), keys.shape[1]), np.float32)
        for row in rows:
            for start in range(0, ids.shape[1], block):
                columns = slice(start, start + block)
                near = take(keys, ids[row, columns], wide)
                found[row, columns] = near @ queries[row]

    threads = cpu_count()
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        list(pool.map(fill, np.array_split(np.arange(len(ids)), threads)))
    return found


def take(keys: Keys, ids: Int32[np.ndarray, " n"], out: Float32[np.ndarray, "m D"]) -> Float32[np.ndarray, "n D"]:
    """Returns the keys `ids` in float32, written to the first rows of `out`."""
    near = out[: len(ids)]
    if keys.dtype == np.float32:
        np.take(keys, ids, axis=0, out=near, mode="clip")  # without "clip" NumPy would buffer
    else:  # bfloat16 is the upper half of float32, and NumPy shifts integers faster than it converts
        np.left_shift(keys.view(np.uint16)[ids], 16, out=near.view(np.uint32), dtype=np.uint32)
    return near


def _padded(ids: Int32[np.ndarray, "Q n"], similarity: Float[np.ndarray, "Q n"], k: int) -> Neighbours:
    """Appends -1 and -inf up to k columns."""
    missing = ((0, 0), (0, k - ids.shape[1]))
    padded = np.pad(ids, missing, constant_values=-1), np.pad(similarity, missing, constant_values=-np.inf)
    return padded[0].astype(np.int32), padded[1].astype(np.float32)
