"""A profiler trace of some steps of a run, on request: `--config.profile.start=100 --config.profile.steps=5`."""

from __future__ import annotations

import dataclasses
import logging
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

import jax
from etils import epath

log = logging.getLogger(__name__)


@dataclasses.dataclass
class Trace:
    """A hook: traces the steps `start` ... `start + steps - 1` into WORKDIR/profile.

    The first step of a process compiles and is never traced; a process that begins after `start` traces those that are
    left. Process 0 alone traces, its own devices. The profiler writes local files only, so they are made in a temporary
    folder and copied to the workdir, which may be a bucket. There `tensorboard --logdir=WORKDIR` finds them (plug-in
    xprof), and https://ui.perfetto.dev opens the `*.trace.json.gz`.
    """

    folder: epath.Path  # gets plugins/profile/<time>/
    start: int
    steps: int
    local: tempfile.TemporaryDirectory[str] | None = None  # while tracing

    def __call__(self, step: int, state: Any, model: Any, batch: Mapping[str, Any]) -> None:
        """Begins or ends the trace after a step; see `train.Hook`."""
        last = self.start + self.steps - 1
        if jax.process_index():
            return
        if self.local is None and self.start - 1 <= step < last:
            jax.block_until_ready(state.step)  # the step before is not part of it
            self.local = tempfile.TemporaryDirectory()
            jax.profiler.start_trace(self.local.name)
        elif self.local is not None and step >= last:
            jax.block_until_ready(state.step)
            self.close()

    def close(self) -> None:
        """Ends the trace, if there is one, and puts it into the workdir."""
        if self.local is None:
            return
        jax.profiler.stop_trace()
        root = pathlib.Path(self.local.name)
        for file in (path for path in root.rglob("*") if path.is_file()):
            there = self.folder / file.relative_to(root).as_posix()
            there.parent.mkdir(parents=True, exist_ok=True)
            there.write_bytes(file.read_bytes())
        self.local.cleanup()
        self.local = None
        log.info("the trace is in %s", self.folder)
