"""Exact nearest neighbours in NumPy, and how best candidates are chosen and merged."""

from __future__ import annotations

import concurrent.futures
import functools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, Int32

from hummingbird.retrieval.index.interface import Keys, Neighbours, Queries
from hummingbird.retrieval.index.scores import Widths, product_scores
from hummingbird.retrieval.threads import cpu_count

QUERIES = 1024  # compared at a time
ROWS = 256  # of them, whose best keys one thread chooses
MANY = 8  # if a query finds more than MANY * k better scores at a time, `top_k` chooses among all scores


class ExactIndex:
    """Exact float32 search by matrix products over chunks of keys; see `interface.Index`.

    Of each chunk, only scores above a query's k-th best so far are looked at: after a tenth of the bank these are few.

    Args:
      keys: L2-normalised; may be memory-mapped.
      chunk: keys compared at a time.
      widths: parts of the keys, which are compared by `product_scores`; None: inner products.
    """

    kind, exact = "exact", True

    def __init__(self, keys: Keys, chunk: int = 16_384, widths: Widths | None = None):
        self.keys, self.chunk, self.widths = keys, chunk, widths

    def search(self, queries: Queries, k: int) -> Neighbours:
        """See `interface.Index.search`."""
        queries, widths = np.ascontiguousarray(queries, np.float32), self.widths
        ids = np.full((len(queries), k), -1, np.int32)
        best = np.full((len(queries), k), -np.inf, np.float32)
        with concurrent.futures.ThreadPoolExecutor(cpu_count()) as pool:
            for first in range(0, len(self.keys), self.chunk):  # each is read and widened once for all queries
                keys = np.asarray(self.keys[first : first + self.chunk], np.float32)
                for start in range(0, len(queries), QUERIES):
                    part = slice(start, start + QUERIES)
                    scores = (
                        queries[part] @ keys.T
                        if widths is None
                        else np.asarray(product_scores(queries[part], keys, widths))
                    )
                    add = functools.partial(add_chunk, ids[part], best[part], scores, first)
                    list(pool.map(add, range(0, len(scores), ROWS)))
        return ids, best


def add_chunk(
    ids: Int32[np.ndarray, "Q k"],
    best: Float32[np.ndarray, "Q k"],
    scores: Float32[np.ndarray, "Q M"],
    first: int,
    row: int,
) -> None:
    """Adds the scores of a chunk of keys for `ROWS` queries from `row` on; the rest as in `add_scores`."""
    rows = slice(row, row + ROWS)
    for columns in pieces(first, scores.shape[1], ids.shape[1]):
        add_scores(ids[rows], best[rows], scores[rows, columns], first + columns.start)


def pieces(first: int, length: int, k: int) -> Iterator[slice]:
    """Cuts the columns of a chunk that begins with key `first` so that no piece is longer than all keys before it."""
    start = 0
    while start < length:
        stop = min(length, start + max(first + start, MANY * k))
        yield slice(start, stop)
        start = stop


def add_scores(
    ids: Int32[np.ndarray, "Q k"], best: Float32[np.ndarray, "Q k"], scores: Float32[np.ndarray, "Q M"], first: int
) -> None:
    """Adds the scores of M keys to the k best so far, in place.

    Args:
      ids: the best keys so far; -1 where there are fewer.
      best: their scores, best first; -inf where there are fewer.
      scores: of the keys numbered from `first`, which is above every number in `ids`.
      first: number of the first of them.
    """
    k = ids.shape[1]
    better = above(scores, best[:, -1], MANY * k) if scores.shape[1] > MANY * k else None
    if better is None:
        columns, values = top_k(scores, k)
        ids[:], best[:] = append_top_k(ids, best, columns + first, values)
    elif len(better.rows):
        new = np.where(better.columns < 0, -1, better.columns + first)
        ids[better.rows], best[better.rows] = append_top_k(ids[better.rows], best[better.rows], new, better.scores)


class Better(NamedTuple):
    """Scores above the threshold of their query.

    Attributes:
      rows: queries that have some.
      columns: where they are, in order; -1 at the end where another query has more.
      scores: their values; -inf at the end.
    """

    rows: Int[np.ndarray, " n"]
    columns: Int[np.ndarray, "n m"]
    scores: Float32[np.ndarray, "n m"]


def above(scores: Float32[np.ndarray, "Q M"], thresholds: Float32[np.ndarray, " Q"], most: int) -> Better | None:
    """Finds the scores above the threshold of their query; None if a query has more than `most`."""
    row, column = np.divmod(np.flatnonzero(scores > thresholds[:, None]), scores.shape[1])
    counts = np.bincount(row, minlength=len(scores))
    if counts.max() > most:
        return None
    rows = np.flatnonzero(counts)
    columns = np.full((len(rows), counts.max()), -1)
    values = np.full(columns.shape, -np.inf, np.float32)
    place = (
        np.repeat(np.arange(len(rows)), counts[rows]),
        np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts),
    )
    columns[place], values[place] = column, scores[row, column]
    return Better(rows, columns, values)


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


def append_top_k(
    ids: Int[np.ndarray, "Q k"],
    similarity: Float[np.ndarray, "Q k"],
    new_ids: Int[np.ndarray, "Q n"],
    new_similarity: Float[np.ndarray, "Q n"],
) -> tuple[Int[np.ndarray, "Q k"], Float[np.ndarray, "Q k"]]:
    """Returns what `merge_top_k` does, where all new ids are above the others and equal new ones are in order."""
    all_ids = np.concatenate([ids, new_ids], axis=1)
    all_similarity = np.concatenate([similarity, new_similarity], axis=1)
    order = np.argsort(-all_similarity, axis=1, kind="stable")[:, : ids.shape[1]]
    return np.take_along_axis(all_ids, order, 1), np.take_along_axis(all_similarity, order, 1)


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
