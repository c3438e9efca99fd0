"""Pretraining: its data, its state at the first step, and its step, for the loop to run."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from clu.parameter_overview import count_parameters
from etils import epath
from jax import Array
from jaxtyping import Int

from hummingbird.config import PretrainConfig, replace, to_flat
from hummingbird.config.schema import Value
from hummingbird.data.interface import ImageSource
from hummingbird.data.pipeline import HostBatch, ViewBatches, build_batches
from hummingbird.data.views import GLOBAL
from hummingbird.devices import board
from hummingbird.devices import mesh as meshes
from hummingbird.errors import UserError
from hummingbird.models.pretrainer import Pretrainer
from hummingbird.objectives import Batch, Objective
from hummingbird.run import checkpoint
from hummingbird.run import workdir as workdirs
from hummingbird.run.training_log import Measured
from hummingbird.train import loop
from hummingbird.train.loop import Run, Saving, Start
from hummingbird.train.program import Program, build_program, learning_rate_of, seconds_at_peak
from hummingbird.train_step import TrainState
from hummingbird.weights import warm_start

log = logging.getLogger(__name__)


@runtime_checkable
class Hook(Protocol):
    """What runs alongside training. Called after every step, on every process. May have a method `close()`."""

    def __call__(self, step: int, state: TrainState, model: Pretrainer, batch: HostBatch, /) -> Measured | None:
        """Returns metrics to log and pictures to show, if any.

        Args:
          step: steps taken.
          state: after the step; the next step donates its buffers.
          model: encoder, contextualisation and pooling.
          batch: this process's part of the batch.
        """
        ...


def pretrain(
    config: PretrainConfig, workdir: str, hooks: tuple[Hook, ...] = (), program: Program | None = None
) -> TrainState:
    """Runs a pretraining config to its last step; resumes from the newest sound checkpoint in `workdir`.

    Args:
      config: resolved config of kind "pretrain".
      workdir: gets config.json, metrics.jsonl, TensorBoard events, curves.png, goodput.json and checkpoints/.
      hooks: called after every step.
      program: `build_program` for this config and data, so that several runs compile once; None: built here.

    Returns:
      The state after the last step.

    Raises:
      UserError: the workdir cannot be written, is in use or belongs to another config; the objective needs labels that
        the images do not have; the loss is no longer finite.
      Preempted: SIGTERM arrived; the state is saved.
    """
    start_time = time.time()
    folder = epath.Path(workdir)
    if jax.process_index() == 0:
        workdirs.check(folder, to_flat(config))
    with board.sharing_troubles(board.Board()):
        return _pretrain(config, folder, hooks, program, start_time)


def _pretrain(
    config: PretrainConfig, folder: epath.Path, hooks: tuple[Hook, ...], program: Program | None, start_time: float
) -> TrainState:
    batches = loop.first_process_first(
        lambda: build_batches(config, config.seed, jax.process_index(), jax.process_count()), "the list of images"
    )
    images = batches.fingerprint["images"]
    assert isinstance(images, int)
    program = program or build_program(config, images)
    if program.algorithm.objective.label_key:  # before anything is compiled or written
        check_labels(program.algorithm.objective, batches.some_labels(), config.data.name)
    run = build_run(config, program, batches, hooks)
    return loop.train(folder, run, lambda: resume_or_initialise(config, folder, program, batches), start_time)


def build_run(
    config: PretrainConfig, program: Program, batches: ViewBatches, hooks: tuple[Hook, ...]
) -> Run[TrainState, HostBatch]:
    """Builds what the loop needs to know about a pretraining run."""

    def step(state: TrainState, batch: HostBatch) -> tuple[TrainState, Mapping[str, Array]]:
        return program.step(state, to_devices(config, program, batch))

    return Run(
        step=step,
        batches=batches,
        state=program.state,
        total_steps=program.total_steps,
        schedule=program.schedule,
        batch_size=config.batch_size,
        log_every=config.log_every,
        saving=Saving(config.checkpoint_every, config.keep_checkpoints, config.keep_every),
        seconds_at_peak=lambda: seconds_at_peak(config, program),
        hooks=[WithModel(hook, program.model) for hook in hooks],
    )


@dataclasses.dataclass(frozen=True)
class WithModel:
    """A hook that is called with the model too."""

    hook: Hook
    model: Pretrainer

    def __call__(self, step: int, state: TrainState, batch: HostBatch) -> Measured | None:
        return self.hook(step, state, self.model, batch)

    def close(self) -> None:
        """Closes the hook if it has something to close."""
        close: Callable[[], None] | None = getattr(self.hook, "close", None)
        if close is not None:
            close()


def resume_or_initialise(
    config: PretrainConfig, folder: epath.Path, program: Program, batches: ViewBatches
) -> Start[TrainState]:
    """Restores the newest sound checkpoint and the position in the data, or starts a new run with a filled bank."""
    flat = to_flat(config)
    resuming = loop.resumable(folder)
    given = None
    if resuming:
        if config.init_from:
            log.info("--init_from=%s is ignored: %s has a checkpoint to resume from", config.init_from, folder)
        flat["init_from"] = workdirs.recorded(folder, "init_from") or ""
    elif config.init_from:
        given = warm_start.read(config.init_from, program.model.encoder, checkpoint.to_arrays(program.state))
    if jax.process_index() == 0:
        workdirs.claim(folder, flat)

    if resuming:
        state, manifest = checkpoint.restore_newest(folder, program.state, program.shardings)
        batches.set_state(manifest["data"])
        log.info("resuming from step %d of %d", int(state.step), program.total_steps)
        warn_of_schedule(config, program, manifest["config"], int(state.step), len(batches.source))
        return Start(state, True, flat, manifest.get("init_from"))
    state: TrainState = program.init()
    if given is not None:
        state = warm_start.put(given, state, program.shardings)
    state = fill_bank(config, program, state, batches.source)
    log.info("%s parameters on %s", f"{count_parameters({'online': state.online}):,}", program.mesh)
    return Start(state, False, flat, given and given.record)


def warn_of_schedule(
    config: PretrainConfig, program: Program, saved: Mapping[str, Value], step: int, images: int
) -> None:
    """Warns where a resumed run is to end at another step than it was meant to: its schedules change on the way."""
    earlier = {name: saved[name] for name in ("epochs", "total_steps") if name in saved}
    last, rate = learning_rate_of(replace(config, earlier), images)
    if last != program.total_steps:
        log.warning(
            "the run was meant to end at step %d and now ends at step %d, so its schedules change: the learning rate"
            " of step %d is %.3g, and would have been %.3g",
            *(last, program.total_steps, step + 1),
            *(np.asarray(schedule(step)).item() for schedule in (program.schedule, rate)),
        )


def to_devices(config: PretrainConfig, program: Program, batch: HostBatch) -> Batch:
    """Makes the global batch on the devices from each process's part; checks the labels on the way."""
    check_labels(program.algorithm.objective, batch["label"], config.data.name)
    views = {name: meshes.to_global(program.mesh, x) for name, x in batch["views"].items()}
    return Batch(views, meshes.to_global(program.mesh, batch["label"]))


def check_labels(objective: Objective, labels: Int[np.ndarray, " b"], data_name: str) -> None:
    """Raises UserError for labels that the objective cannot use; accepts an empty array, which says nothing."""
    if not labels.size:
        return
    if objective.label_key and (labels < 0).all():
        hint = "; data.scenes.labels=true draws scenes that have" if data_name == "scenes" else ""
        raise UserError(f"config key {objective.label_key}: the images of data.name={data_name} have no labels{hint}")
    if objective.classes and labels.max() >= objective.classes:
        raise UserError(
            f"config key supervised.classes: {objective.classes}, but an image is of class number {labels.max()}; use "
            f"at least {labels.max() + 1}"
        )


def fill_bank(config: PretrainConfig, program: Program, state: TrainState, source: ImageSource) -> TrainState:
    """Fills the bank with features of batches drawn for this purpose, so that no step attends to an empty entry."""
    rounds = -(-config.context.bank_length // config.batch_size)
    if rounds:
        batches = build_batches(config, config.seed + 1, jax.process_index(), jax.process_count(), source)
        with contextlib.closing(batches):
            for i in range(rounds):
                batch = next(batches)
                batch["views"] = {GLOBAL: batch["views"][GLOBAL][:, :1]}  # all that crosses to the devices
                state = program.fill(state, to_devices(config, program, batch), jnp.int32(i))
    return state
