"""Splits the wall time of a run into steps, waiting for data, and everything else."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import jax

Kind = Literal["steps", "data_wait", "other"]


@runtime_checkable
class Pending(Protocol):
    """A result that may still be computed; arrays in JAX are."""

    def is_ready(self) -> bool:
        """Returns whether the result is there."""
        ...


class Spent(NamedTuple):
    """Steps taken, and wall time in seconds.

    Attributes:
      count: number of steps, without the first one.
      steps: on those steps.
      data_wait: waiting for a batch while the devices were idle.
      other: compiling (the first step), saving, evaluating, drawing.
    """

    count: int = 0
    steps: float = 0.0
    data_wait: float = 0.0
    other: float = 0.0


class StepTimer:
    """Measures where the time of a training loop goes. The first step compiles, so its time counts as "other".

    Args:
      clock: returns seconds that never go back.

    Attributes:
      warm: whether the first step is done.
      total: what was spent so far.

    Example:
      >>> seconds = iter([0.0, 9.0, 11.0])
      >>> timer = StepTimer(clock=lambda: next(seconds))
      >>> timer.finish_step()
      >>> timer.finish_step()
      >>> timer.total
      Spent(count=1, steps=2.0, data_wait=0.0, other=9.0)
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter):
        self._clock = clock
        self._mark = clock()
        self._last_lap = Spent()
        self.warm = False
        self.total = Spent()

    def finish_step(self) -> None:
        """Ends a step: the time since the last measurement was spent on it."""
        self._charge("steps" if self.warm else "other")
        self.total = self.total._replace(count=self.total.count + self.warm)
        self.warm = True

    @contextlib.contextmanager
    def other(self) -> Iterator[None]:
        """Counts the time inside the block as "other"."""
        self._charge("steps" if self.warm else "other")
        yield
        self._charge("other")

    @contextlib.contextmanager
    def waiting(self, running: jax.Array | Pending | None) -> Iterator[None]:
        """Counts the time inside the block, in which a batch is fetched, as "data_wait" if the devices were idle.

        If `running` is still being computed when the batch arrives, the devices had work and nothing was lost. If not,
        the whole wait counts, which may be slightly too much.

        Args:
          running: an array that the previous step computes; None before the first step.
        """
        self._charge("steps" if self.warm else "other")
        yield
        busy = isinstance(running, Pending) and not running.is_ready()
        if self.warm and not busy:
            self._charge("data_wait")

    def lap(self) -> Spent:
        """Returns what was spent since the last call."""
        now, before = self.total, self._last_lap
        self._last_lap = now
        return Spent(
            now.count - before.count,
            now.steps - before.steps,
            now.data_wait - before.data_wait,
            now.other - before.other,
        )

    def _charge(self, kind: Kind) -> None:
        """Adds the time since the last measurement to `kind`."""
        now = self._clock()
        self.total = self.total._replace(**{kind: getattr(self.total, kind) + now - self._mark})
        self._mark = now


def rates(spent: Spent, batch_size: int, seconds_at_peak: float | None = None) -> dict[str, float]:
    """Returns the speed of an interval, for the log; "other" is left out of all but `seconds_elsewhere`.

    Args:
      spent: steps and seconds of the interval.
      batch_size: images in the global batch.
      seconds_at_peak: of a step at the published peak of the devices; None if unknown: no `mfu`.

    Example:
      >>> rates(Spent(count=4, steps=6.0, data_wait=2.0), batch_size=10)["images_per_second"]
      5.0
    """
    found = {"seconds_elsewhere": spent.other}
    if not spent.count:
        return found
    passed = max(spent.steps + spent.data_wait, 1e-9)
    seconds = passed / spent.count
    found |= {
        "seconds_per_step": seconds,
        "seconds_data_wait": spent.data_wait / spent.count,
        "seconds_compute": spent.steps / spent.count,
        "data_wait": spent.data_wait / passed,
        "images_per_second": batch_size / seconds,
        "images_per_second_per_device": batch_size / seconds / jax.device_count(),
    }
    return found if seconds_at_peak is None else {**found, "mfu": seconds_at_peak / seconds}


def clock_text(seconds: float) -> str:
    """Formats a duration for people.

    Example:
      >>> clock_text(23.44), clock_text(3723.4)
      ('23.4 s', '1:02:03')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
