"""Finds the nearest keys for a prompt: kept from before, by an approximate index where there are very many, or exactly.

The approximate index is built on a thread while searches stay exact. It covers the keys of the moment when its build
began; later ones are compared one by one, and those that are gone are left out, until a quarter has changed and it is
built again.
"""

from __future__ import annotations

import logging
import threading
import weakref
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float32, Int32

from hummingbird.errors import UserError, first_line
from hummingbird.incontext.encoded import Encoded
from hummingbird.incontext.nearest import SPARE, Nearest, advance, search
from hummingbird.incontext.snapshot import Numbering, Snapshot
from hummingbird.retrieval.index import scann
from hummingbird.retrieval.index.build import build_index
from hummingbird.retrieval.index.interface import Index, Keys

log = logging.getLogger(__name__)

LARGE = 200_000  # keys from which on an exact search on a CPU takes about a second an image (`scripts/bench segment`)
CHANGED = 0.25  # share of the keys after which the approximate index is built again


class Built(NamedTuple):
    """An index over the keys of a snapshot; the other fields are as in `Snapshot`."""

    index: Index
    rows: Int32[np.ndarray, " size"]
    numbers: Int32[np.ndarray, " M"]
    numbering: Numbering


class Finder:
    """Finds the nearest keys, for any number of threads."""

    def __init__(self) -> None:
        self._found: weakref.WeakKeyDictionary[Encoded, Nearest] = weakref.WeakKeyDictionary()
        self._built: Built | None = None
        self._building = threading.Lock()
        self._given_up = False

    def find(self, now: Snapshot, encoded: Encoded, k: int) -> Nearest:
        """Returns the neighbours of an image's patches, and keeps them for as long as the caller keeps the image."""
        last = self._found.get(encoded)
        found = None if last is None else advance(last, now, encoded.features, k)
        found = self._found[encoded] = found or self.search(now, encoded.features, SPARE * k)
        return found

    def search(self, now: Snapshot, features: Float32[np.ndarray, "N D"], count: int) -> Nearest:
        """Returns the `count` nearest keys of each patch."""
        if len(now) >= LARGE and jax.default_backend() == "cpu" and scann.find_scann().installed:
            self._refresh(now)
            found = None if self._built is None else from_index(self._built, now, features, count)
            if found is not None:
                return found
        return search(now, features, count)

    def wait(self) -> None:
        """Waits until no index is being built."""
        with self._building:
            pass

    def _refresh(self, now: Snapshot) -> None:
        """Begins to build an index over the keys of a snapshot, unless the last one is good enough."""
        built = self._built
        if built is not None and built.numbering is now.numbering:
            known = built.numbers[built.numbers < len(now.rows)]
            kept = int(np.count_nonzero(now.rows[known] >= 0))
            if len(built.numbers) + len(now) - 2 * kept < CHANGED * len(now):
                return
        if not self._given_up and self._building.acquire(blocking=False):
            threading.Thread(target=self._build, args=(now,), daemon=True).start()

    def _build(self, now: Snapshot) -> None:
        try:
            keys = np.concatenate([segment.keys for segment in now.segments])
            self._built = Built(build_large(keys), now.rows, now.numbers, now.numbering)
        except (MemoryError, RuntimeError, UserError) as error:
            self._given_up = True
            log.warning("no index could be built, searches stay exact: %s", first_line(error))
        finally:
            self._building.release()


def build_large(keys: Keys) -> Index:
    """Builds an approximate index."""
    return build_index(keys, "scann")


def from_index(built: Built, now: Snapshot, features: Float32[np.ndarray, "N D"], count: int) -> Nearest | None:
    """Returns the nearest keys by an index over the keys of another snapshot; None if the two differ too much."""
    rows, similarity = built.index.search(features, SPARE * count)
    numbers = np.where(rows >= 0, built.numbers[rows], -1)
    last = Nearest(built.rows, built.numbering, numbers, similarity, similarity[:, -1].copy())
    found = advance(last, now, features, count)
    if found is None:
        return None
    return Nearest(now.rows, now.numbering, found.numbers[:, :count], found.similarity[:, :count], found.floor)
