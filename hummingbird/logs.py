"""What a training run tells: a progress line with the time left, metrics.jsonl and TensorBoard events."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from etils import epath
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from tensorboardX import SummaryWriter


class TrainingLog:
    """Context manager; silent on all processes but the first."""

    def __init__(self, workdir: epath.Path, start: int, total: int, batch_size: int):
        self.workdir, self.start, self.total, self.batch_size = workdir, start, total, batch_size
        self.chief = jax.process_index() == 0
        self.waited = 0.0
        self.steps = 0

    def __enter__(self) -> TrainingLog:
        self.since = time.perf_counter()
        if self.chief:
            self._drop_lines_after(self.start)
            self.writer = SummaryWriter(os.fspath(self.workdir), purge_step=self.start + 1)
            console = Console(file=sys.stderr)
            columns = ("step", MofNCompleteColumn(), BarColumn(), TextColumn("{task.fields[status]}"))
            clock = (TimeElapsedColumn(), "left", TimeRemainingColumn())
            self.progress = Progress(*columns, *clock, console=console, disable=not console.is_terminal)
            self.task = self.progress.add_task("", total=self.total, completed=self.start, status="compiling")
            self.progress.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self.chief:
            self.progress.stop()
            self.writer.close()

    def _drop_lines_after(self, step: int) -> None:
        """Lines of steps that a killed run took after its last checkpoint are taken, and written, again."""
        path = self.workdir / "metrics.jsonl"
        if path.exists():
            lines = path.read_text().splitlines()
            kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step]
            if kept != lines:
                path.write_text("".join(line + "\n" for line in kept))

    def step(
        self,
        step: int,
        waited: float,
        metrics: Mapping[str, Any],
        schedule: Callable[[Any], Any],
        logged: bool,
        measured: Mapping[str, float],
    ) -> None:
        """Counts a step; if `logged` or a hook measured something, writes a line.

        Args:
          step: steps taken.
          waited: seconds that the step waited for data.
          metrics: of the step, on the device.
          schedule: learning rate by step.
          logged: whether this step is due.
          measured: what hooks measured.
        """
        self.waited += waited
        self.steps += 1
        if not self.chief:
            return
        if step == self.start + 1:
            self.began = time.perf_counter()  # the first step compiles: the time left is told without it
        self.progress.update(self.task, completed=step)
        if not (logged or measured):
            return
        values = {name: float(v) for name, v in jax.device_get(dict(metrics)).items() if name != "finite"}
        now = time.perf_counter()
        seconds = (now - self.since) / self.steps
        data = self.waited / self.steps
        values |= {
            "learning_rate": float(np.asarray(schedule(step - 1))),
            "seconds_per_step": seconds,
            "seconds_data_wait": data,
            "seconds_compute": seconds - data,
            "images_per_second": self.batch_size / seconds,
            "images_per_second_per_device": self.batch_size / seconds / jax.device_count(),
            **measured,
        }
        self.since, self.waited, self.steps = now, 0.0, 0
        with (self.workdir / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)
        status = (
            f"loss {values['loss']:.3f}  top-1 {100 * values['top1']:.0f}%  {values['images_per_second']:.0f} images/s"
            f"  data {100 * data / seconds:.0f}%"
        )
        status += "".join(f"  {name} {value:.2f}" for name, value in measured.items())
        self.progress.update(self.task, status=status)
        if self.progress.disable:
            left = (now - self.began) / max(1, step - self.start - 1) * (self.total - step)
            print(f"step {step}/{self.total}  {status}  left {left:.0f} s", file=sys.stderr, flush=True)
