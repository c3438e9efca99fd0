"""The index of `retrieval.index=auto` on accelerators: their own, or the host's where they lack the memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from jax import Array
from jaxtyping import Float

from hummingbird.retrieval.index.device import DeviceIndex, DeviceMemoryError, shortage
from hummingbird.retrieval.index.interface import Index, Keys, Neighbours, Queries
from hummingbird.retrieval.index.scann import ScannIndex
from hummingbird.retrieval.index.settings import ScannSettings


class AutoIndex:
    """Searches on the devices, and on the host from the moment they run out of memory; see `interface.Index`.

    Args:
      keys: L2-normalised.
      build_host: builds the index that replaces the devices'.
      recall: as for `DeviceIndex`.
    """

    def __init__(self, keys: Keys, build_host: Callable[[], Index], recall: float = 1.0):
        self._build_host = build_host
        length, dim = keys.shape
        problem = shortage(length, dim, keys.dtype.itemsize)
        self._index: Index | None = None
        if not problem:
            try:
                self._index = DeviceIndex(keys, recall=recall)
            except DeviceMemoryError as error:
                problem = error.reason
        if problem:
            self._index = self._on_host(problem)

    @property
    def kind(self) -> str:
        """ "device", or that of the host's index."""
        return self.current.kind

    @property
    def exact(self) -> bool:
        """Whether the neighbours are those of an exact float32 search."""
        return self.current.exact

    def search(self, queries: Queries, k: int) -> Neighbours:
        """See `interface.Index.search`."""
        return self.start(queries, k)()

    def start(self, queries: Queries | Float[Array, "B h w D"], k: int) -> Callable[[], Neighbours]:
        """See `DeviceIndex.start`."""
        index = self.current
        if not isinstance(index, DeviceIndex):
            found = index.search(np.asarray(queries, np.float32).reshape(-1, queries.shape[-1]), k)
            return lambda: found
        try:
            wait = index.start(queries, k)
        except DeviceMemoryError as error:
            return self._instead(queries, k, error)

        def fetch() -> Neighbours:
            try:
                return wait()
            except DeviceMemoryError as error:
                return self._instead(queries, k, error)()

        return fetch

    def _instead(
        self, queries: Queries | Float[Array, "B h w D"], k: int, error: DeviceMemoryError
    ) -> Callable[[], Neighbours]:
        """Searches on the host what the devices could not."""
        queries = np.asarray(queries, np.float32)
        if isinstance(self.current, DeviceIndex):
            self._index = None  # its memory is what the devices lack
            self._index = self._on_host(error.reason)
        return self.start(queries, k)

    def retuned(self, settings: ScannSettings) -> Index:
        """Returns the index with other settings of the search, which those of devices do not have."""
        return self.current.retuned(settings) if isinstance(self.current, ScannIndex) else self

    @property
    def current(self) -> Index:
        """The index that searches."""
        assert self._index is not None
        return self._index

    def _on_host(self, problem: str) -> Index:
        warnings.warn(f"index: {problem}; searching on the host instead", stacklevel=3)
        return self._build_host()
