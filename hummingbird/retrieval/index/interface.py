"""What every kind of index offers, and the types of its arrays."""

from __future__ import annotations

from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32, Int32

Keys: TypeAlias = Float[np.ndarray, "M D"]  # float32 or bfloat16
Queries: TypeAlias = Float[np.ndarray, "Q D"]
Neighbours: TypeAlias = tuple[Int32[np.ndarray, "Q k"], Float32[np.ndarray, "Q k"]]


@runtime_checkable
class Index(Protocol):
    """Nearest neighbours among the keys of a memory bank, by inner product.

    Attributes:
      kind: "exact", "scann" or "device".
      exact: whether the neighbours are those of an exact float32 search.
    """

    @property
    def kind(self) -> str: ...

    @property
    def exact(self) -> bool: ...

    def search(self, queries: Queries, k: int) -> Neighbours:
        """Finds the k nearest keys of each query.

        Args:
          queries: L2-normalised.
          k: neighbours per query.

        Returns:
          Key numbers and similarities, best first; -1 and -inf where fewer than k keys were found.
        """
        ...
