"""Timing of several functions in interleaved rounds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any


def interleaved(
    sides: dict[str, Callable[[], Any]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, dict[str, float]]:
    """Returns {name: {"best", "median"}} in seconds; each side runs once uncounted, then all of them in turn.

    With `time.process_time`, seconds are those of the processors, which other programs hardly change.
    """
    for run in sides.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            start = clock()
            run()
            times[name].append(clock() - start)
    return {name: {"best": min(found), "median": statistics.median(found)} for name, found in times.items()}
