"""How long an evaluation takes: seconds by part, and progress bars."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import rich.console
import rich.progress

from hummingbird.retrieval.processes import first

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


def track(items: Iterable[T], total: int, text: str, enabled: bool) -> Iterator[T]:
    """Yields the items under a progress bar with the time left, on stderr and in the first process only."""
    console = rich.console.Console(stderr=True)
    return iter(rich.progress.track(items, text, total=total, console=console, disable=not (enabled and first())))
