"""Work done ahead of its consumer, on threads."""

from __future__ import annotations

import collections
import concurrent.futures
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def cpu_count() -> int:
    """Returns the number of CPUs that this process may use: its affinity, and the quota of its control group.

    Schedulers and the workers of a sweep give a process fewer than the machine has.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = pathlib.Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(count, round(int(quota) / int(period))))
    except (OSError, ValueError):  # "max", another system, or the root group
        return count


def in_order(function: Callable[[T], R], jobs: Iterable[T], workers: int | None = None) -> Iterator[R]:
    """Yields function(job) for every job, in order, computed ahead on threads (OpenCV and NumPy release the lock).

    Args:
      function: what to compute.
      jobs: its arguments.
      workers: threads; None: as many as there are CPUs, at most 16.

    Example:
      >>> list(in_order(str.upper, "abc"))
      ['A', 'B', 'C']
    """
    workers = workers or min(16, cpu_count())
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        waiting: collections.deque[concurrent.futures.Future[R]] = collections.deque()
        try:
            for job in jobs:
                waiting.append(pool.submit(function, job))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
