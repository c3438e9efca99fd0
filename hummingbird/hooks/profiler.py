"""Records a profiler trace of some steps of a run: `--config.profile.start=100 --config.profile.steps=5`."""

from __future__ import annotations

import dataclasses
import logging
import pathlib
import tempfile

import jax
from etils import epath

from hummingbird.data.pipeline import HostBatch
from hummingbird.models.pretrainer import Pretrainer
from hummingbird.train_step import TrainState

log = logging.getLogger(__name__)


@dataclasses.dataclass
class Trace:
    """A hook that traces the steps `start` to `start + steps - 1` into a folder.

    The first step of a process compiles and is never traced; a process that resumes after `start` traces the steps that
    are left. Only process 0 records a trace, and only for its own devices. The profiler writes only local files, so it
    writes to a temporary folder, which is then copied, as the workdir may be a bucket. TensorBoard (plug-in xprof)
    finds the trace with `--logdir=WORKDIR`, and https://ui.perfetto.dev opens its `*.trace.json.gz`.

    Attributes:
      folder: gets plugins/profile/TIME/.
      start: first step to trace.
      steps: number of steps.
      local: temporary folder while tracing.
    """

    folder: epath.Path
    start: int
    steps: int
    local: tempfile.TemporaryDirectory[str] | None = None

    def __call__(self, step: int, state: TrainState, model: Pretrainer, batch: HostBatch) -> None:
        """Starts or stops the trace after a step; see `train.Hook`."""
        last = self.start + self.steps - 1
        if jax.process_index():
            return
        if self.local is None and self.start - 1 <= step < last:
            jax.block_until_ready(state.step)  # leave this step out of the trace
            self.local = tempfile.TemporaryDirectory()
            jax.profiler.start_trace(self.local.name)
        elif self.local is not None and step >= last:
            jax.block_until_ready(state.step)
            self.close()

    def close(self) -> None:
        """Stops the trace, if there is one, and copies it to the folder."""
        if self.local is None:
            return
        jax.profiler.stop_trace()
        root = pathlib.Path(self.local.name)
        for file in (path for path in root.rglob("*") if path.is_file()):
            target = self.folder / file.relative_to(root).as_posix()
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
        self.local.cleanup()
        self.local = None
        log.info("profiler trace written to %s", self.folder)
