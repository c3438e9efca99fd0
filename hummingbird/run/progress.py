"""Progress of a long run: a bar with the speed and the time left, or lines in a log where there is no terminal."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator

import rich.console
import rich.progress

log = logging.getLogger(__name__)

EVERY = 30.0  # seconds between lines in a log


class Speed(rich.progress.ProgressColumn):
    """Shows how many units are done a second, on average: a batch is done at once."""

    def __init__(self, unit: str):
        super().__init__()
        self._unit = unit

    def render(self, task: rich.progress.Task) -> str:
        """Returns the text of the column."""
        elapsed = task.finished_time or task.elapsed
        return f"{task.completed / elapsed:.1f} {self._unit}/s" if elapsed and task.completed else ""


@contextlib.contextmanager
def show_progress(text: str, total: int, unit: str, enabled: bool) -> Iterator[Callable[[], None]]:
    """Yields a function that is called when a unit is done.

    Args:
      text: what is done.
      total: number of units; 0: unknown.
      unit: in the plural, such as "frames".
      enabled: show anything at all.
    """
    console = rich.console.Console(stderr=True)
    if not enabled:
        yield lambda: None
    elif console.is_terminal:
        columns = (
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(),
            rich.progress.MofNCompleteColumn(),
            Speed(unit),
            rich.progress.TimeRemainingColumn(),
        )
        with rich.progress.Progress(*columns, console=console) as bar:
            task = bar.add_task(text, total=total or None)
            yield lambda: bar.advance(task)
    else:
        yield _Lines(text, total, unit)


class _Lines:
    """Logs a line every `EVERY` seconds."""

    def __init__(self, text: str, total: int, unit: str):
        self._text, self._total, self._unit = text, total, unit
        self._done, self._start = 0, time.monotonic()
        self._said = self._start

    def __call__(self) -> None:
        self._done += 1
        now = time.monotonic()
        if now - self._said < EVERY:
            return
        self._said = now
        log.info("%s: %s", self._text, describe(self._done, self._total, now - self._start, self._unit))


def describe(done: int, total: int, seconds: float, unit: str) -> str:
    """Says how far a run is.

    Example:
      >>> describe(30, 120, 10.0, "frames")
      '30 of 120 frames, 3.0 a second, 0:30 left'
    """
    speed = done / max(seconds, 1e-9)
    if not total:
        return f"{done} {unit}, {speed:.1f} a second"
    left = round((total - done) / speed)
    return f"{done} of {total} {unit}, {speed:.1f} a second, {left // 60}:{left % 60:02} left"
