"""Reports a training run: times every step, and sends metrics and pictures to the sinks."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TypeAlias

import jax
import numpy as np
import optax
from etils import epath
from jax import Array
from jaxtyping import UInt8

from hummingbird.run.goodput import Goodput
from hummingbird.run.sinks import Curves, JsonLines, PictureFiles, ProgressLine, Sink, TensorBoard
from hummingbird.run.timer import StepTimer, clock_text, rates

# What a hook measured: numbers for the log, or pictures, uint8 [H, W, 3].
Measured: TypeAlias = Mapping[str, float | UInt8[np.ndarray, "H W 3"]]


log = logging.getLogger(__name__)

STARVED = 0.2  # share of the time spent waiting for data that is worth a warning
JUDGED = 10  # steps before it is judged


@dataclasses.dataclass
class TrainingLog:
    """Turns what a training loop measures into records for the sinks. A context manager.

    A record holds the step's metrics, the learning rate, the speed since the last record (see `timer.rates`) and
    goodput.

    Attributes:
      timer: splits the time of the loop; the loop marks what is not a step.
      goodput: share of the run's time spent on steps that were kept.
      sinks: get the records; empty on all processes but the first.
      total_steps: last step of the run.
      log_every: steps between records.
      batch_size: images in the global batch.
      schedule: learning rate by step.
      seconds_at_peak: seconds of a step at the published peak of the devices; None if unknown.
      now: returns the time in seconds since the epoch.
      starved: whether a warning of waiting for data has been logged.
    """

    timer: StepTimer
    goodput: Goodput
    sinks: Sequence[Sink]
    total_steps: int
    log_every: int
    batch_size: int
    schedule: optax.Schedule
    seconds_at_peak: float | None = None
    now: Callable[[], float] = time.time
    starved: bool = False

    def __enter__(self) -> TrainingLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sink in self.sinks:
            sink.close(failed=kind is not None)
        if self.sinks and self.timer.warm:
            print(self._summary(), file=sys.stderr, flush=True)

    def step(self, step: int, metrics: Mapping[str, Array], measured: Measured) -> None:
        """Ends a step; sends a record every `log_every` steps, after the last, and whenever a hook measured a number.

        Args:
          step: steps taken.
          metrics: of the step, on the device.
          measured: what the hooks measured.
        """
        pictures = {name: value for name, value in measured.items() if isinstance(value, np.ndarray)}
        numbers = {name: float(value) for name, value in measured.items() if not isinstance(value, np.ndarray)}
        due = step % self.log_every == 0 or step == self.total_steps or bool(numbers)
        values: dict[str, float] = {}
        if self.sinks and due:  # reading the metrics waits for the step
            values = {name: float(v) for name, v in jax.device_get(dict(metrics)).items() if name != "finite"}
        self.timer.finish_step()
        if due:
            self._warn_of_starving()
        with self.timer.other():
            for sink in self.sinks:
                sink.step(step)
                for name, picture in pictures.items():
                    sink.picture(step, name, picture)
        if values:
            speed = rates(self.timer.lap(), self.batch_size, self.seconds_at_peak)
            goodput = self.goodput.share(self.timer.total.steps, self.now())
            rate = float(np.asarray(self.schedule(step - 1)))
            values |= {"learning_rate": rate, "goodput": goodput, **speed, **numbers}
            for sink in self.sinks:
                sink.scalars(step, values)

    @contextlib.contextmanager
    def saving(self, step: int) -> Iterator[None]:
        """Surrounds the save of a checkpoint: flushes the records of its steps first, updates goodput afterwards."""
        with self.timer.other():
            for sink in self.sinks:
                sink.flush()
            yield
            if self.sinks:
                self.goodput.save(step, self.timer.total.steps)
            for sink in self.sinks:
                sink.saved(step)

    def _warn_of_starving(self) -> None:
        """Warns once, on the process that waits, if the devices spend much of their time without data."""
        spent = self.timer.total
        share = spent.data_wait / max(spent.steps + spent.data_wait, 1e-9)
        if share > STARVED and spent.count >= JUDGED and not self.starved:
            self.starved = True
            log.warning(
                "the devices waited for data %.0f%% of the time: raise data.threads (by default one per core), let"
                " data.workers share the cores on machines with many, or move the images closer; `hummingbird data"
                " --index` lists them once",
                100 * share,
            )

    def _summary(self) -> str:
        """Says in one line where the time went."""
        now, spent = self.now(), self.timer.total
        goodput, passed = self.goodput.share(spent.steps, now), clock_text(now - self.goodput.start_time)
        wait = clock_text(spent.data_wait)
        return f"goodput {100 * goodput:.0f}% of the {passed} since the run started; waited {wait} for data this time"


def build_training_log(
    workdir: epath.Path,
    start: int,
    total_steps: int,
    log_every: int,
    batch_size: int,
    schedule: optax.Schedule,
    start_time: float,
    seconds_at_peak: float | None,
) -> TrainingLog:
    """Builds the log of a run that writes metrics.jsonl, TensorBoard events, pictures, curves.png and goodput.json.

    Args:
      workdir: gets the files.
      start: step the run starts or resumes from.
      total_steps: last step.
      log_every: steps between records.
      batch_size: images in the global batch.
      schedule: learning rate by step.
      start_time: when this process started the run, seconds since the epoch.
      seconds_at_peak: of a step at the published peak of the devices; None if unknown.
    """
    goodput = Goodput(workdir / "goodput.json", start, start_time)
    sinks: list[Sink] = []
    if jax.process_index() == 0:
        sinks = [ProgressLine(start, total_steps), JsonLines(workdir, start), TensorBoard(workdir, start)]
        sinks += [PictureFiles(workdir), Curves(workdir)]
        if start < total_steps:
            goodput.write()
    return TrainingLog(StepTimer(), goodput, sinks, total_steps, log_every, batch_size, schedule, seconds_at_peak)
