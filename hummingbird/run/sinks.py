"""Where a training run's metrics and pictures go: metrics.jsonl, TensorBoard, PNG files, the terminal, curves.png."""

from __future__ import annotations

import io
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from etils import epath
from jaxtyping import UInt8
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column

from hummingbird.run.files import write_bytes
from hummingbird.run.jsonl import Journal

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter

log = logging.getLogger(__name__)


class Sink:
    """Receives what a run reports. A sink overrides the methods it needs; the others do nothing."""

    def step(self, step: int) -> None:
        """Called after every step."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Receives the metrics of a logged step, {name: value}."""

    def picture(self, step: int, name: str, picture: UInt8[np.ndarray, "H W 3"]) -> None:
        """Receives a picture that a hook drew after a step."""

    def flush(self) -> None:
        """Writes what is still in memory; called before a checkpoint is saved."""

    def saved(self, step: int) -> None:
        """Called after a checkpoint was saved."""

    def close(self, failed: bool) -> None:
        """Called once, at the end; `failed` if an exception ends the run."""


class JsonLines(Sink):
    """Appends each record to metrics.jsonl."""

    def __init__(self, workdir: epath.Path, start: int):
        self._journal = Journal(workdir / "metrics.jsonl", start)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes one line."""
        self._journal.write({"step": step, **values})

    def flush(self) -> None:
        """Uploads the lines that a bucket does not have yet."""
        self._journal.flush()

    def close(self, failed: bool) -> None:
        """Flushes."""
        self.flush()


def _summary_writer() -> type[SummaryWriter]:
    """Imports tensorboardX without PyTorch, which it would import for annotations alone: 4 s and 200 MB."""
    hidden = "torch" not in sys.modules
    if hidden:
        sys.modules["torch"] = None  # pyright: ignore[reportArgumentType]  (which makes its import fail)
    try:
        from tensorboardX import SummaryWriter
    finally:
        if hidden:
            del sys.modules["torch"]
    return SummaryWriter


class TensorBoard(Sink):
    """Writes TensorBoard events; a resumed run hides events after its first step."""

    def __init__(self, workdir: epath.Path, start: int):
        self._writer = _summary_writer()(os.fspath(workdir), purge_step=start + 1)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes one event per metric."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def picture(self, step: int, name: str, picture: UInt8[np.ndarray, "H W 3"]) -> None:
        """Writes an image event."""
        self._writer.add_image(name, picture, step, dataformats="HWC")

    def close(self, failed: bool) -> None:
        """Closes the event file."""
        self._writer.close()


class PictureFiles(Sink):
    """Writes each picture to WORKDIR/NAME/STEP.png."""

    def __init__(self, workdir: epath.Path):
        self._workdir = workdir

    def picture(self, step: int, name: str, picture: UInt8[np.ndarray, "H W 3"]) -> None:
        """Writes a PNG file."""
        content = io.BytesIO()
        Image.fromarray(picture).save(content, "PNG")
        write_bytes(self._workdir / name / f"{step:08d}.png", content.getvalue())


class ProgressLine(Sink):
    """Shows progress on stderr: a bar in a terminal, else a line per record.

    Args:
      start: step the run starts from.
      total_steps: last step.
      clock: returns seconds.
    """

    def __init__(self, start: int, total_steps: int, clock: Callable[[], float] = time.perf_counter):
        self._start, self._total, self._clock = start, total_steps, clock
        self._warm_since: float | None = None  # the first step compiles, so it says nothing about the time left
        console = Console(file=sys.stderr)
        columns = ("step", MofNCompleteColumn(), BarColumn(10), TimeElapsedColumn(), "left", TimeRemainingColumn())
        # In a narrow terminal the status is cut off rather than the time left.
        rest = Column(ratio=1, no_wrap=True, overflow="ellipsis")
        status = TextColumn("{task.fields[status]}", table_column=rest)
        self._progress = Progress(*columns, status, console=console, expand=True, disable=not console.is_terminal)
        self._task = self._progress.add_task("", total=total_steps, completed=start, status="compiling")
        self._progress.start()

    def step(self, step: int) -> None:
        """Moves the bar."""
        if self._warm_since is None:
            self._warm_since = self._clock()
        self._progress.update(self._task, completed=step)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Shows the main metrics, and prints them where there is no terminal."""
        status = "  ".join(status_parts(values))
        self._progress.update(self._task, status=status)
        if self._progress.disable:
            passed = self._clock() - (self._warm_since or self._clock())
            left = passed / max(1, step - self._start - 1) * (self._total - step)
            print(f"step {step}/{self._total}  {status}  left {left:.0f} s", file=sys.stderr, flush=True)

    def close(self, failed: bool) -> None:
        """Leaves the terminal as it is."""
        self._progress.stop()


def status_parts(values: Mapping[str, float]) -> list[str]:
    """Returns the words of the progress line; metrics that are absent are left out.

    Example:
      >>> status_parts({"loss": 1.25, "top1": 0.5, "goodput": 0.9, "eval_miou": 41.2})
      ['loss 1.250', 'top-1 50%', 'goodput 90%', 'eval_miou 41.20']
    """
    formats: dict[str, Callable[[float], str]] = {
        "loss": lambda x: f"loss {x:.3f}",
        "top1": lambda x: f"top-1 {100 * x:.0f}%",
        "images_per_second": lambda x: f"{x:.0f} images/s",
        "data_wait": lambda x: f"data wait {100 * x:.0f}%",
        "mfu": lambda x: f"MFU {100 * x:.0f}%",
        "goodput": lambda x: f"goodput {100 * x:.0f}%",
    }
    parts = [text(values[name]) for name, text in formats.items() if name in values]
    scores = [f"{name} {value:.2f}" for name, value in values.items() if name.startswith("eval_")]
    return parts + scores[:1]  # the first score is the task's headline number


class Curves(Sink):
    """Draws curves.png from metrics.jsonl, at the end of a run and at checkpoints, in at most 1% of the run's time.

    Args:
      workdir: gets curves.png.
      clock: returns seconds.
    """

    def __init__(self, workdir: epath.Path, clock: Callable[[], float] = time.perf_counter):
        self._workdir, self._clock = workdir, clock
        self._drawn_at, self._seconds = clock(), 2.0  # the first drawing imports matplotlib: about 2 seconds
        self._stale = False

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Notes that there is something new to draw."""
        self._stale = True

    def saved(self, step: int) -> None:
        """Draws, unless that was done a short time ago."""
        if self._clock() - self._drawn_at > 100 * self._seconds:
            self._draw()

    def close(self, failed: bool) -> None:
        """Draws the finished run; after a failure the machine may have little time left."""
        if not failed:
            self._draw()

    def _draw(self) -> None:
        if not self._stale:
            return
        from hummingbird.run import curves  # here, because matplotlib takes a second to import

        before = self._clock()
        try:
            curves.write(self._workdir)
        except OSError as error:  # a missing picture must not end a run, nor hide why a save has failed
            log.warning("%s cannot be written: %s", self._workdir / "curves.png", error.strerror or error)
        self._drawn_at = self._clock()
        self._seconds, self._stale = self._drawn_at - before, False
