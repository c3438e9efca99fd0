"""Work done ahead of its consumer, on threads."""

from __future__ import annotations

import collections
import concurrent.futures
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_order(function: Callable[[T], R], jobs: Iterable[T], workers: int | None = None) -> Iterator[R]:
    """Yields function(job) for every job, in order, computed ahead on threads (OpenCV and NumPy release the lock).

    Args:
      function: what to compute.
      jobs: its arguments.
      workers: threads; None: as many as there are CPUs, at most 8.

    Example:
      >>> list(in_order(str.upper, "abc"))
      ['A', 'B', 'C']
    """
    workers = workers or min(8, os.cpu_count() or 1)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        waiting: collections.deque[concurrent.futures.Future[R]] = collections.deque()
        try:
            for job in jobs:
                waiting.append(pool.submit(function, job))
                if len(waiting) > 4 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
