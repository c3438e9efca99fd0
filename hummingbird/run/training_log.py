"""What a training run tells: a progress line with the time left, metrics.jsonl, TensorBoard events and pictures."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from etils import epath
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column
from tensorboardX import SummaryWriter

from hummingbird.run.goodput import Goodput
from hummingbird.run.jsonl import Journal

log = logging.getLogger(__name__)

# What a hook measured: numbers for the log, or pictures, uint8 [H, W, 3].
Measured = Mapping[str, float | np.ndarray]


class TrainingLog:
    """Context manager; silent on all processes but the first.

    Time is told apart into steps, waiting for data, and all else: `aside`, and the first step, which compiles. Rates
    are of steps and waiting alone; goodput (see `Goodput`) tells how much all else took.
    """

    def __init__(
        self,
        workdir: epath.Path,
        start: int,
        total: int,
        batch_size: int,
        began: float | None = None,
        seconds_at_peak: float | None = None,
    ):
        """Args:
        workdir: gets the files.
        start, total: steps taken, and to be taken.
        batch_size: images in the global batch.
        began: when this start began, seconds since the epoch; None: now.
        seconds_at_peak: of a step if the devices did its products at their published peak; None: not known.
        """
        self.workdir, self.start, self.total, self.batch_size = workdir, start, total, batch_size
        self.seconds_at_peak = seconds_at_peak
        self.chief = jax.process_index() == 0
        self.goodput = Goodput(workdir / "goodput.json", start, time.time() if began is None else began)
        self.compiled = False
        self.steps = 0  # since the last line, as are the seconds
        self.on_steps = self.waited = self.elsewhere = 0.0
        self.waited_ever = 0.0
        self.drawn, self.drawing = time.perf_counter(), 2.0  # when, and how long it took: seconds, at first a guess

    def __enter__(self) -> TrainingLog:
        self.mark = time.perf_counter()
        if self.chief:
            self.lines = Journal(self.workdir / "metrics.jsonl", self.start)
            self.writer = SummaryWriter(os.fspath(self.workdir), purge_step=self.start + 1)
            console = Console(file=sys.stderr)
            columns = ("step", MofNCompleteColumn(), BarColumn(10), TimeElapsedColumn(), "left", TimeRemainingColumn())
            rest = Column(ratio=1, no_wrap=True, overflow="ellipsis")  # of a narrow terminal: time left stays in sight
            status = TextColumn("{task.fields[status]}", table_column=rest)
            self.progress = Progress(*columns, status, console=console, expand=True, disable=not console.is_terminal)
            self.task = self.progress.add_task("", total=self.total, completed=self.start, status="compiling")
            self.progress.start()
            if self.start < self.total:
                self.goodput.write()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if self.chief:
            self.progress.stop()
            self.lines.flush()
            self.writer.close()
            if self.compiled:
                self._count()
                print(self._summary(), file=sys.stderr, flush=True)
                if kind is None:
                    self._draw_curves()

    def _summary(self) -> str:
        """Where the time went, in one line."""
        now = time.time()
        passed = now - self.goodput.began
        return (
            f"goodput {100 * self.goodput.share(now):.0f}% of the {clock_text(passed)} since the run began; "
            f"this start waited {clock_text(self.waited_ever)} for data"
        )

    def _count(self) -> float:
        """Gives the time since the mark to the steps; moves the mark."""
        now = time.perf_counter()
        passed, self.mark = now - self.mark, now
        if self.compiled:
            self.on_steps += passed
            self.goodput.add(passed)
        else:
            self.elsewhere += passed
        return passed

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """What is done inside is no part of a step."""
        self._count()
        yield
        now = time.perf_counter()
        self.elsewhere += now - self.mark
        self.mark = now

    @contextlib.contextmanager
    def saving(self, step: int) -> Iterator[None]:
        """A checkpoint of `step` is written inside, after its line: no part of a step, it keeps those so far."""
        with self.aside():
            if self.chief:
                self.lines.flush()
            yield
            if self.chief:
                self.goodput.save(step)
                if time.perf_counter() - self.drawn > 100 * self.drawing and step < self.total:
                    self._draw_curves()

    def _draw_curves(self) -> None:
        """curves.png; at checkpoints only as often as it takes less than a hundredth of the time."""
        from hummingbird.run import curves  # here, because matplotlib takes a second to import

        before = time.perf_counter()
        try:
            curves.write(self.workdir)
        except OSError as error:  # a picture is not worth a run, and must not hide why a save has failed
            log.warning("%s cannot be written: %s", self.workdir / "curves.png", error.strerror or error)
        self.drawn = time.perf_counter()
        self.drawing = self.drawn - before

    @contextlib.contextmanager
    def waiting(self, running: Any) -> Iterator[None]:
        """A batch is waited for inside.

        Where `running`, an array that the step before computes (None: there is none), is not there yet even then,
        nothing was lost: the devices had work. Else all of the wait counts, which may be a little too much.
        """
        self._count()
        yield
        if self.compiled and (running is None or running.is_ready()):
            now = time.perf_counter()
            self.waited += now - self.mark
            self.waited_ever += now - self.mark
            self.mark = now

    def step(
        self,
        step: int,
        metrics: Mapping[str, Any],
        schedule: Callable[[Any], Any],
        logged: bool,
        measured: Measured,
    ) -> None:
        """Counts a step; if `logged` or a hook measured a number, writes a line.

        Args:
          step: steps taken.
          metrics: of the step, on the device.
          schedule: learning rate by step.
          logged: whether this step is due.
          measured: what hooks measured.
        """
        pictures = {name: value for name, value in measured.items() if isinstance(value, np.ndarray)}
        numbers = {name: float(value) for name, value in measured.items() if not isinstance(value, np.ndarray)}
        values: dict[str, float] = {}
        if self.chief and (logged or numbers):  # to look at them is to wait for the step
            values = {name: float(v) for name, v in jax.device_get(dict(metrics)).items() if name != "finite"}
        self._count()
        self.steps += self.compiled
        if not self.compiled:
            self.compiled, self.began = True, self.mark  # the time left is told without the first step
        if not self.chief:
            return
        self.progress.update(self.task, completed=step)
        with self.aside():
            for name, picture in pictures.items():
                self._show(name, picture, step)
        if values:
            values |= {"learning_rate": float(np.asarray(schedule(step - 1))), **self._rates(), **numbers}
            self._write(step, values, numbers)

    def _rates(self) -> dict[str, float]:
        """Speed since the last line; begins the next interval. Empty if no step but the first was taken."""
        rates: dict[str, float] = {"goodput": self.goodput.share(time.time()), "seconds_elsewhere": self.elsewhere}
        if self.steps:
            passed = max(self.on_steps + self.waited, 1e-9)
            seconds = passed / self.steps
            rates |= {
                "seconds_per_step": seconds,
                "seconds_data_wait": self.waited / self.steps,
                "seconds_compute": self.on_steps / self.steps,
                "data_wait": self.waited / passed,
                "images_per_second": self.batch_size / seconds,
                "images_per_second_per_device": self.batch_size / seconds / jax.device_count(),
            }
            if self.seconds_at_peak is not None:
                rates["mfu"] = self.seconds_at_peak / seconds
        self.on_steps = self.waited = self.elsewhere = 0.0
        self.steps = 0
        return rates

    def _show(self, name: str, picture: np.ndarray, step: int) -> None:
        """The picture as a PNG and in TensorBoard."""
        folder = self.workdir / name
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{step:08d}.png").open("wb") as file:
            Image.fromarray(picture).save(file, "PNG")
        self.writer.add_image(name, picture, step, dataformats="HWC")

    def _write(self, step: int, values: Mapping[str, float], measured: Mapping[str, float]) -> None:
        """One line of metrics.jsonl, its scalars in TensorBoard, and the progress line."""
        self.lines.write({"step": step, **values})
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)
        parts = [f"loss {values['loss']:.3f}"]
        parts += [f"top-1 {100 * values['top1']:.0f}%"] if "top1" in values else []
        if "seconds_per_step" in values:
            parts += [f"{values['images_per_second']:.0f} images/s", f"data wait {100 * values['data_wait']:.0f}%"]
        parts += [f"MFU {100 * values['mfu']:.0f}%"] if "mfu" in values else []
        parts += [f"goodput {100 * values['goodput']:.0f}%"]
        parts += [f"{name} {value:.2f}" for name, value in list(measured.items())[:1]]  # the score of the protocol
        status = "  ".join(parts)
        self.progress.update(self.task, status=status)
        if self.progress.disable:
            left = (time.perf_counter() - self.began) / max(1, step - self.start - 1) * (self.total - step)
            print(f"step {step}/{self.total}  {status}  left {left:.0f} s", file=sys.stderr, flush=True)


def clock_text(seconds: float) -> str:
    """3723.4 -> "1:02:03"; below a minute "23.4 s"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
