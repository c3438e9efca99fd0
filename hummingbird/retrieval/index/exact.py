"""Exact nearest neighbours in NumPy, and how best candidates are chosen and merged."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from hummingbird.retrieval.index.interface import Keys, Neighbours, Queries


class ExactIndex:
    """Exact float32 search by matrix products over chunks of keys; see `interface.Index`.

    The k best keys of a query lie in the k blocks with the largest maxima, so only their scores are sorted.

    Args:
      keys: L2-normalised; may be memory-mapped.
      chunk: keys compared at a time.
      block: scores per block.
    """

    kind, exact = "exact", True

    def __init__(self, keys: Keys, chunk: int = 16_384, block: int = 64):
        self.keys, self.chunk, self.block = keys, chunk, block

    def search(self, queries: Queries, k: int) -> Neighbours:
        """See `interface.Index.search`."""
        queries = np.ascontiguousarray(queries, np.float32)
        ids = np.full((len(queries), k), -1, np.int32)
        best = np.full((len(queries), k), -np.inf, np.float32)
        for first in range(0, len(self.keys), self.chunk):  # each is read and widened once for all queries
            keys = np.asarray(self.keys[first : first + self.chunk], np.float32)
            for start in range(0, len(queries), 1024):
                part = slice(start, start + 1024)
                new_ids, new = top_k(queries[part] @ keys.T, k, self.block)
                ids[part], best[part] = merge_top_k(ids[part], best[part], new_ids + first, new)
        return ids, best


def top_k(scores: Float[np.ndarray, "Q M"], k: int, block: int = 64) -> Neighbours:
    """Finds the k largest scores of each row.

    Args:
      scores: one row per query.
      k: columns wanted; all M if there are fewer.
      block: scores per block; blocks are strided (column j is in block j mod blocks), so that their maxima are plain
        vector operations.

    Returns:
      Columns and scores [Q, min(k, M)], best first; of equal scores, the lower column first. Which of the equal scores
      at the border are kept is deterministic but arbitrary.

    Example:
      >>> top_k(np.array([[0.1, 0.7, 0.3]], np.float32), k=2)
      (array([[1, 2]], dtype=int32), array([[0.7, 0.3]], dtype=float32))
    """
    columns = scores.shape[1]
    blocks = columns // block
    if blocks <= 2 * k:
        candidates = np.broadcast_to(np.arange(columns), scores.shape)
        values = scores
    else:
        tail = np.arange(blocks * block, columns)
        maxima = scores[:, : blocks * block].reshape(len(scores), block, blocks).max(axis=1)
        chosen = np.argpartition(maxima, blocks - k, axis=1)[:, blocks - k :]
        inside = (chosen[:, None, :] + (np.arange(block) * blocks)[None, :, None]).reshape(len(scores), -1)
        candidates = np.concatenate([inside, np.broadcast_to(tail, (len(scores), len(tail)))], axis=1)
        values = np.take_along_axis(scores, candidates, axis=1)
    count = min(k, columns)
    if values.shape[1] > count:
        near = np.argpartition(values, values.shape[1] - count, axis=1)[:, values.shape[1] - count :]
        candidates, values = np.take_along_axis(candidates, near, 1), np.take_along_axis(values, near, 1)
    order = np.lexsort((candidates, -values), axis=1)
    return np.take_along_axis(candidates, order, 1).astype(np.int32), np.take_along_axis(values, order, 1)


def merge_top_k(
    ids: Int[np.ndarray, "Q k"],
    similarity: Float[np.ndarray, "Q k"],
    new_ids: Int[np.ndarray, "Q n"],
    new_similarity: Float[np.ndarray, "Q n"],
) -> tuple[Int[np.ndarray, "Q k"], Float[np.ndarray, "Q k"]]:
    """Returns the k best of two candidate lists per query, best first; of equal similarities, the lower id first."""
    k = ids.shape[1]
    all_ids = np.concatenate([ids, new_ids], axis=1)
    all_similarity = np.concatenate([similarity, new_similarity], axis=1)
    order = np.lexsort((all_ids, -all_similarity), axis=1)[:, :k]
    return np.take_along_axis(all_ids, order, 1), np.take_along_axis(all_similarity, order, 1)
