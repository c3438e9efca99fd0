"""The loop: step, log, save, call hooks. It takes the steps of any program (state, batch) -> (state, metrics)."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

import jax
import numpy as np
import optax
from etils import epath
from jax import Array
from jax.experimental import multihost_utils

from hummingbird.config.schema import Value
from hummingbird.data.batches import AnyBatch, Batches
from hummingbird.errors import Preempted
from hummingbird.run import checkpoint
from hummingbird.run import workdir as workdirs
from hummingbird.run.agreement import from_all
from hummingbird.run.compiled import keep_compiled
from hummingbird.run.files import Json
from hummingbird.run.finite_check import FiniteCheck
from hummingbird.run.needs import state_needs
from hummingbird.run.saver import Saver, Stepped
from hummingbird.run.stop_signal import StopSignal
from hummingbird.run.training_log import Measured, build_training_log

T = TypeVar("T")
State = TypeVar("State", bound=Stepped)


@dataclasses.dataclass(frozen=True)
class Saving:
    """Which checkpoints a run saves and keeps.

    Attributes:
      every: steps between checkpoints; the last step is always saved.
      keep: newest checkpoints to keep.
      keep_every: checkpoints of steps that this divides stay too; 0: none.
      kind: what they hold.
    """

    every: int
    keep: int
    keep_every: int = 0
    kind: str = checkpoint.KIND


@dataclasses.dataclass(frozen=True)
class Run(Generic[State, AnyBatch]):
    """What the loop needs to know about a run, whatever it trains.

    Attributes:
      step: (state, batch) -> (state, metrics), on the global batch, of which each process passes its part. Among the
        metrics are "loss", "gradient_norm" and "finite".
      batches: this process's parts of the batches; the loop closes them.
      state: shapes of the state.
      total_steps: last step.
      schedule: learning rate by step.
      batch_size: images in the global batch.
      log_every: steps between log lines.
      saving: which checkpoints to save.
      explain: says why a loss may not be finite, given the numbers of the batch's images; "" if it finds no reason.
      seconds_at_peak: of a step at the published peak of the devices; None if unknown.
      hooks: called after every step, on every process, with the steps taken, the state and this process's part of the
        batch; they return metrics to log and pictures to show, if any. The next step donates the state's buffers.
    """

    step: Callable[[State, AnyBatch], tuple[State, Mapping[str, Array]]]
    batches: Batches[AnyBatch]
    state: State
    total_steps: int
    schedule: optax.Schedule
    batch_size: int
    log_every: int
    saving: Saving
    explain: Callable[[Sequence[int]], str] = lambda images: ""
    seconds_at_peak: Callable[[], float | None] = lambda: None
    hooks: Sequence[Callable[[int, State, AnyBatch], Measured | None]] = ()


class Start(NamedTuple, Generic[State]):
    """Where a run starts.

    Attributes:
      state: the state at its first step.
      resuming: whether it comes from a checkpoint of this run.
      config: flat config, to save with the checkpoints.
      init_from: where parameters at step 0 came from; None if all were drawn at random.
    """

    state: State
    resuming: bool
    config: Mapping[str, Value]
    init_from: Mapping[str, Json] | None


def train(folder: epath.Path, run: Run[State, AnyBatch], begin: Callable[[], Start[State]], start_time: float) -> State:
    """Holds a workdir and takes all steps of a run.

    Args:
      folder: the workdir.
      run: what is trained.
      begin: restores the newest checkpoint or makes the state at step 0.
      start_time: when this process started the run, seconds since the epoch.

    Returns:
      The state after the last step.

    Raises:
      UserError: the workdir is in use or cannot be written; the loss is no longer finite.
      Preempted: SIGTERM arrived; the state is saved.
    """
    if jax.process_index() == 0:
        size = sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(run.state))
        saving = run.saving
        staying = run.total_steps // saving.keep_every if saving.keep_every else 0
        state_needs(folder, size, saving.keep + 1 + staying, run.batches.buffer_bytes)
    # Held no earlier: a config that is refused leaves nothing behind.
    with workdirs.hold(folder), contextlib.closing(run.batches):
        keep_compiled(folder)
        return run_steps(folder, run, begin(), start_time)


def run_steps(folder: epath.Path, run: Run[State, AnyBatch], start: Start[State], start_time: float) -> State:
    """Takes the steps from `start` to the last; see `train`."""
    state, first, last = start.state, int(start.state.step) + 1, run.total_steps
    peak = run.seconds_at_peak()
    finite = FiniteCheck(folder, run.explain)
    with (
        build_saver(folder, run.saving, start) as saver,
        StopSignal() as stopped,
        build_training_log(
            folder, first - 1, last, run.log_every, run.batch_size, run.schedule, start_time, peak
        ) as training_log,
        _closing(run.hooks),
    ):
        if not start.resuming:
            saver.save(state, run.batches.get_state())
        for step in range(first, last + 1):
            with training_log.timer.waiting(finite.running):
                batch = next(run.batches)
            state, metrics = run.step(state, batch)
            preempted = stopped(step) and step < last
            due = preempted or step == last or step % run.saving.every == 0
            finite.add(step, batch["index"], metrics)
            if due:
                finite.now()
            measured: dict[str, float | np.ndarray] = {}
            for hook in () if preempted else run.hooks:  # when preempted, only seconds remain to save
                with training_log.timer.other():
                    measured |= hook(step, state, batch) or {}
            # Log before saving: resuming skips saved steps, so an unlogged line would be lost.
            training_log.step(step, metrics, measured)
            if due:
                with training_log.saving(step):
                    saver.save(state, run.batches.get_state())
            saver.check()
            if preempted:
                saver.wait()
                raise Preempted(f"stopped by a signal at step {step} of {last}; the state is saved")
    return state


def build_saver(folder: epath.Path, saving: Saving, start: Start[State]) -> Saver:
    """Builds what saves the checkpoints of a run."""
    return Saver(
        folder,
        config=start.config,
        keep=saving.keep,
        keep_every=saving.keep_every,
        init_from=start.init_from,
        kind=saving.kind,
    )


def resumable(folder: epath.Path) -> bool:
    """Returns whether a workdir has a checkpoint; a run whose first save was interrupted starts again.

    The first process decides for all.
    """
    return bool(from_all("yes" if any(checkpoint.is_finished(step) for step in checkpoint.steps(folder)) else "")[0])


def first_process_first(build: Callable[[], T], what: str) -> T:
    """Calls `build` in process 0 and then in all others, which find what the first has written."""
    if jax.process_count() == 1:
        return build()
    made = build() if jax.process_index() == 0 else None
    multihost_utils.sync_global_devices(what)
    return build() if made is None else made


@contextlib.contextmanager
def _closing(hooks: Sequence[object]) -> Iterator[None]:
    """Closes the hooks that have something to close."""
    try:
        yield
    finally:
        for hook in hooks:
            close: Callable[[], None] | None = getattr(hook, "close", None)
            if close is not None:
                close()
