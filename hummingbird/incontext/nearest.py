"""The nearest keys of the patches of an image, kept from one state of a prompt to the next.

A changed stroke changes a few keys of thousands. What an image's patches found before stays true but for these: keys
that are gone leave the lists, new keys are compared alone, and only patches that then have too few neighbours search
again. The result is that of a search over all keys, exactly.
"""

# NumPy's own annotations are partly unknown.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float32, Int32

from hummingbird.incontext.snapshot import Numbering, Snapshot
from hummingbird.retrieval.index.exact import above, append_top_k, top_k

SPARE = 2  # neighbours kept, in those that are used: patches lose some before they have to search again
CHUNK = 16_384  # keys compared at a time


@dataclasses.dataclass(frozen=True, eq=False)
class Nearest:
    """The keys nearest to each of N patches, as of a snapshot.

    Attributes:
      rows, numbering: of the snapshot.
      numbers: of the keys, best first; -1 where there are fewer.
      similarity: of them; -inf where there are fewer.
      floor: all keys with a larger similarity are listed.
    """

    rows: Int32[np.ndarray, " size"]
    numbering: Numbering
    numbers: Int32[np.ndarray, "N m"]
    similarity: Float32[np.ndarray, "N m"]
    floor: Float32[np.ndarray, " N"]


def search(now: Snapshot, features: Float32[np.ndarray, "N D"], count: int) -> Nearest:
    """Finds the `count` nearest keys of each patch, or all keys where there are fewer."""
    rows, similarity = now.index.search(features, count)
    numbers = np.where(rows >= 0, now.numbers[rows], -1)
    return Nearest(now.rows, now.numbering, numbers, similarity, similarity[:, -1].copy())


def advance(last: Nearest, now: Snapshot, features: Float32[np.ndarray, "N D"], k: int) -> Nearest | None:
    """Returns the nearest keys as of another snapshot; None if a search over all keys takes no longer.

    Args:
      last: what the patches found.
      now: where they search.
      features: of the patches.
      k: neighbours that each patch needs, if there are as many.
    """
    if last.numbering is not now.numbering or last.numbers.shape[1] < k:
        return None
    if last.rows is now.rows:
        return last
    before = np.full(len(now.rows), -1, np.int32)
    before[: len(last.rows)] = last.rows[: len(before)]
    new = np.flatnonzero((now.rows >= 0) & (before < 0)).astype(np.int32)
    if 2 * len(new) > len(now):
        return None
    numbers, similarity = without(last.numbers, last.similarity, now)
    numbers, similarity, floor = with_new(numbers, similarity, last.floor.copy(), new, now, features)
    wanted = min(k, len(now))
    few = np.flatnonzero((numbers[:, wanted - 1] < 0) & (floor > -np.inf))
    if 4 * len(few) > len(features):
        return None
    if len(few):
        found = search(now, features[few], numbers.shape[1])
        numbers[few], similarity[few], floor[few] = found.numbers, found.similarity, found.floor
    return Nearest(now.rows, now.numbering, numbers, similarity, floor)


def without(
    numbers: Int32[np.ndarray, "N m"], similarity: Float32[np.ndarray, "N m"], now: Snapshot
) -> tuple[Int32[np.ndarray, "N m"], Float32[np.ndarray, "N m"]]:
    """Returns copies of the lists without the keys that a snapshot does not have."""
    numbers, similarity = numbers.copy(), similarity.copy()
    gone = present(numbers, now) < (numbers >= 0)
    rows = np.flatnonzero(gone.any(axis=1))
    if len(rows):
        order = np.argsort(gone[rows], axis=1, kind="stable")
        numbers[rows] = np.take_along_axis(np.where(gone[rows], -1, numbers[rows]), order, 1)
        similarity[rows] = np.take_along_axis(np.where(gone[rows], -np.inf, similarity[rows]), order, 1)
    return numbers, similarity


def present(numbers: Int32[np.ndarray, "N m"], now: Snapshot) -> Bool[np.ndarray, "N m"]:
    """Returns which numbers are keys of a snapshot."""
    known = (numbers >= 0) & (numbers < len(now.rows))
    return known & (now.rows[np.where(known, numbers, 0)] >= 0)


def with_new(
    numbers: Int32[np.ndarray, "N m"],
    similarity: Float32[np.ndarray, "N m"],
    floor: Float32[np.ndarray, " N"],
    new: Int32[np.ndarray, " n"],
    now: Snapshot,
    features: Float32[np.ndarray, "N D"],
) -> tuple[Int32[np.ndarray, "N m"], Float32[np.ndarray, "N m"], Float32[np.ndarray, " N"]]:
    """Adds new keys to the lists, in place: those above a patch's floor."""
    size = numbers.shape[1]
    for start in range(0, len(new), CHUNK):
        part = new[start : start + CHUNK]
        scores = features @ now.features(part).T
        better = above(scores, floor, size) if len(part) > size else None
        if better is None:
            columns, values = top_k(scores, size)
            rows, found = np.arange(len(scores)), np.where(values > floor[:, None], part[columns], -1)
            values = np.where(found >= 0, values, -np.inf)
        else:
            rows, values = better.rows, better.scores
            found = np.where(better.columns < 0, -1, part[better.columns])
        if not len(rows):
            continue
        numbers[rows], similarity[rows] = append_top_k(numbers[rows], similarity[rows], found, values)
        floor[rows] = np.maximum(floor[rows], similarity[rows, -1])  # a full list is complete down to its last entry
    return numbers, similarity, floor
