"""How long an evaluation takes: seconds by part, and progress."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from hummingbird.retrieval.processes import first
from hummingbird.run.progress import show_progress

T = TypeVar("T")


class Clock:
    """Seconds spent in each named part.

    Example:
      >>> clock = Clock()
      >>> with clock("search"):
      ...     pass
      >>> list(clock.seconds)
      ['search']
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Adds the time of the block to the part `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def track(items: Iterable[T], total: int, text: str, enabled: bool, unit: str = "images") -> Iterator[T]:
    """Yields the items and shows how far they are, in the first process only; see `show_progress`."""
    with show_progress(text, total, unit, enabled and first()) as advance:
        for item in items:
            yield item
            advance()
