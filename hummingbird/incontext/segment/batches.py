"""Batches of images, and reading the next one while the one before it is used."""

from __future__ import annotations

import concurrent.futures
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")
Found = TypeVar("Found")


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yields lists of `size` items, the last one shorter."""
    waiting = iter(items)
    while part := list(itertools.islice(waiting, size)):
        yield part


def ahead(parts: Sequence[T], read: Callable[[T], Found]) -> Iterator[Found]:
    """Yields `read` of each part, computed in a thread while the part before it is used.

    Example:
      >>> list(ahead(["a", "b"], str.upper))
      ['A', 'B']
    """
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = [pool.submit(read, part) for part in parts[:1]]
        for following in range(1, len(parts) + 1):
            found = waiting.pop().result()
            waiting += [pool.submit(read, part) for part in parts[following : following + 1]]
            yield found
