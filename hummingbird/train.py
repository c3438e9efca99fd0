"""The pretraining loop: restore, step, log, save, call hooks."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from clu.parameter_overview import count_parameters
from etils import epath
from jax.experimental import multihost_utils

from hummingbird import train_step
from hummingbird.config import PretrainConfig, replace, to_flat
from hummingbird.data.augment import build_photometric
from hummingbird.data.pipeline import Batches, build_batches
from hummingbird.devices import chips, flops
from hummingbird.devices import mesh as meshes
from hummingbird.errors import Preempted, UserError
from hummingbird.models.context import init_bank
from hummingbird.models.pretrainer import Pretrainer, build_pretrainer
from hummingbird.run import checkpoint
from hummingbird.run import workdir as workdirs
from hummingbird.run.files import write_json
from hummingbird.run.saver import Saver
from hummingbird.run.training_log import Measured, build_training_log
from hummingbird.train_step import Algorithm, TrainState
from hummingbird.weights import warm_start

log = logging.getLogger(__name__)

# hook(step, state, model, batch) -> metrics to log, pictures to show, or None; called after every step of the loop on
# every process, with that process's part of the batch. A hook may have a method close().
Hook = Callable[[int, TrainState, Pretrainer, Mapping[str, np.ndarray]], Measured | None]


@dataclasses.dataclass(frozen=True)
class Program:
    """A config made concrete: what is compiled, and where its arrays live."""

    model: Pretrainer
    mesh: jax.sharding.Mesh
    total_steps: int
    schedule: Callable[[Any], Any]
    init: Callable[[], TrainState]  # -> state at step 0, bank empty
    fill: Any  # jitted (state, views, labels, i) -> state
    step: Any  # jitted (state, views, labels) -> (state, metrics)
    state: TrainState  # of jax.ShapeDtypeStruct
    shardings: TrainState


def build_program(config: PretrainConfig, examples: int, devices: list[Any] | None = None) -> Program:
    """Everything that a run compiles, from a config and the number of training images."""
    mesh = meshes.build_mesh(config, devices)
    model = build_pretrainer(config, mesh)
    steps_per_epoch = examples / config.batch_size
    total_steps = config.total_steps or math.ceil(config.epochs * steps_per_epoch)
    optimizer, schedule = train_step.build_optimizer(config, total_steps, steps_per_epoch)

    def init() -> TrainState:
        bank = init_bank(config.context.bank_length, config.batch_size, model.encoder.width)
        views = (config.batch_size, 2, config.input_size, config.input_size, 3)
        return train_step.init_state(model, optimizer, jax.random.key(config.seed), views, bank)

    algorithm = Algorithm(
        model=model,
        optimizer=optimizer,
        augment=build_photometric(config),
        seed=config.seed,
        micro_batches=config.micro_batches,
        tau=config.contrastive.temperature,
        contrastive_weight=config.contrastive.weight,
        supervised_weight=config.supervised.weight,
        supervised_beta=config.supervised.temperature,
        ema_decay=config.ema_decay,
        replicate=functools.partial(jax.lax.with_sharding_constraint, shardings=meshes.replicated(mesh)),
    )
    step, fill = (functools.partial(f, algorithm) for f in (train_step.train_step, train_step.fill_step))
    state = jax.eval_shape(init)
    shardings = meshes.state_shardings(mesh, state)
    batch, whole = meshes.batch_sharding(mesh), meshes.replicated(mesh)
    return Program(
        model=model,
        mesh=mesh,
        total_steps=total_steps,
        schedule=schedule,
        init=jax.jit(init, out_shardings=shardings),
        fill=jax.jit(fill, in_shardings=(shardings, batch, batch, whole), out_shardings=shardings, donate_argnums=0),
        step=jax.jit(step, in_shardings=(shardings, batch, batch), out_shardings=(shardings, whole), donate_argnums=0),
        state=state,
        shardings=shardings,
    )


def pretrain(
    config: PretrainConfig, workdir: str, hooks: tuple[Hook, ...] = (), program: Program | None = None
) -> TrainState:
    """Runs a pretraining config to its last step, going on from the newest sound checkpoint in `workdir`.

    Args:
      config: resolved config of kind "pretrain".
      workdir: gets config.json, metrics.jsonl, TensorBoard events, curves.png, goodput.json and checkpoints/.
      hooks: called after every step.
      program: `build_program` of this config and data; None: built here. Runs that share one compile it once.

    Returns:
      The state after the last step.

    Raises:
      UserError: the workdir cannot be written or belongs to another config; the loss stopped being finite.
      Preempted: SIGTERM arrived; the state is saved.
    """
    began = time.time()
    folder = epath.Path(workdir)
    host, hosts = jax.process_index(), jax.process_count()
    if host == 0:
        workdirs.check(folder, to_flat(config))
    batches = build_batches(config, config.seed, host, hosts)
    program = program or build_program(config, batches.fingerprint["images"])
    with workdirs.hold(folder):  # not before here: a config that is refused leaves nothing behind
        return _run(config, folder, hooks, program, batches, began)


def _run(
    config: PretrainConfig,
    folder: epath.Path,
    hooks: tuple[Hook, ...],
    program: Program,
    batches: Batches,
    began: float,
) -> TrainState:
    """`pretrain` in a workdir that no other run can write to."""
    host, hosts = jax.process_index(), jax.process_count()
    begun = any(checkpoint.is_finished(step) for step in checkpoint.steps(folder))
    flat, given = to_flat(config), None
    if begun:
        if config.init_from:
            log.info("--init_from=%s is ignored: %s has a checkpoint to go on from", config.init_from, folder)
        flat["init_from"] = workdirs.recorded(folder, "init_from") or ""
    elif config.init_from:
        given = warm_start.read(config.init_from, program.model.encoder, program.state)
    if host == 0:
        workdirs.claim(folder, flat)

    if begun:
        state, record = restore(folder, program, batches)
        log.info("going on from step %d of %d", int(state.step), program.total_steps)
    else:  # a new run, or one whose first save was interrupted: nothing is lost by beginning again
        state, record = program.init(), given and given.record
        if given is not None:
            state = warm_start.put(given, state, program.shardings)
        state = fill_bank(program, config, state, host, hosts)
        log.info("%s parameters on %s", f"{count_parameters(state.online):,}", program.mesh)
    start = int(state.step)
    peak = seconds_at_peak(config, program)
    with (
        Saver(folder, config=flat, keep=config.keep_checkpoints, init_from=record) as saver,
        StopSignal() as stop,
        build_training_log(config, folder, start, program.total_steps, program.schedule, began, peak) as training_log,
        _closing(hooks),
    ):
        if not begun:
            saver.save(state, batches.get_state())
        pending: tuple[int, Any, dict[str, Any]] | None = None
        for step in range(start + 1, program.total_steps + 1):
            with training_log.timer.waiting(None if pending is None else pending[2]["finite"]):
                batch = next(batches)
            _check_labels(config, batch["label"])
            views, labels = (meshes.to_global(program.mesh, batch[key]) for key in ("views", "label"))
            state, metrics = program.step(state, views, labels)
            last, stopped = step == program.total_steps, stop(step)
            due = last or stopped or step % config.checkpoint_every == 0
            # Looking at the previous step's loss while this one runs costs nothing; before a save, look at this one's.
            if pending is not None:
                _check_finite(folder, *pending)
            pending = (step, batch["index"], metrics)
            if due:
                _check_finite(folder, *pending)
            measured: dict[str, Any] = {}
            for hook in hooks if last or not stopped else ():  # the time until a preempted machine is gone is short
                with training_log.timer.other():
                    measured |= hook(step, state, program.model, batch) or {}
            # Before the save: a step that is saved is never taken, nor its line written, again.
            training_log.step(step, metrics, measured)
            if due:
                with training_log.saving(step):
                    saver.save(state, batches.get_state())
            saver.check()
            if stopped and not last:
                saver.wait()
                raise Preempted(f"stopped by a signal at step {step} of {program.total_steps}; the state is saved")
    return state


def seconds_at_peak(config: PretrainConfig, program: Program) -> float | None:
    """Seconds of a step if all devices did its matrix products at their published bf16 peak; None if that is not known.

    What this is of the measured time is the model flops utilisation. Layers that `encoder.remat` computes again are
    counted once; the scores over the bank are counted as often as its streaming computes them.
    """
    chip = chips.find(program.mesh.devices.flat[0].device_kind)
    if chip is None:
        return None
    if config.encoder.remat:
        once = replace(config, {"encoder.remat": False})
        program = build_program(once, examples=1000 * config.batch_size, devices=list(program.mesh.devices.flat))
    return flops.count(program.step, program.state, *batch_shapes(config)) / (chip.flops * program.mesh.size)


def batch_shapes(config: PretrainConfig) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    """The views and labels of a global batch."""
    size, batch = config.input_size, config.batch_size
    return jax.ShapeDtypeStruct((batch, 2, size, size, 3), jnp.uint8), jax.ShapeDtypeStruct((batch,), jnp.int32)


def restore(folder: epath.Path, program: Program, batches: Batches) -> tuple[TrainState, dict[str, Any] | None]:
    """The newest sound state, on the program's devices, and what it began with; sets the position of `batches`."""
    state, manifest = checkpoint.restore_newest(folder, program.state, program.shardings)
    batches.set_state(manifest["data"])
    return state, manifest.get("init_from")


def fill_bank(program: Program, config: PretrainConfig, state: TrainState, host: int, hosts: int) -> TrainState:
    """Fills the bank with target features of batches of their own, so that no step attends to an empty entry."""
    rounds = -(-config.context.bank_length // config.batch_size)
    if rounds:
        batches = build_batches(config, config.seed + 1, host, hosts)
        for i in range(rounds):
            batch = next(batches)
            _check_labels(config, batch["label"])
            views, labels = (meshes.to_global(program.mesh, batch[key]) for key in ("views", "label"))
            state = program.fill(state, views, labels, jnp.int32(i))
        batches.close()
    return state


def _check_labels(config: PretrainConfig, labels: np.ndarray) -> None:
    """Raises UserError for labels [b] that the supervised objective could only misread."""
    if config.supervised.weight and (labels < 0).all():
        raise UserError(f"config key supervised.weight: the images of data.name={config.data.name} have no labels")
    classifies = config.supervised.weight and config.supervised.objective == "classifier"
    if classifies and labels.max() >= config.supervised.classes:
        raise UserError(
            f"config key supervised.classes: {config.supervised.classes}, but an image is of class number "
            f"{labels.max()}; use at least {labels.max() + 1}"
        )


@contextlib.contextmanager
def _closing(hooks: tuple[Hook, ...]) -> Iterator[None]:
    """Closes those that have something to close."""
    try:
        yield
    finally:
        for hook in hooks:
            getattr(hook, "close", lambda: None)()


def _check_finite(folder: epath.Path, step: int, index: np.ndarray, metrics: dict[str, Any]) -> None:
    """Raises UserError if a step's loss or gradient is not finite; failure.json then says which images it saw."""
    if bool(metrics["finite"]):
        return
    values = {name: float(value) for name, value in jax.device_get(metrics).items() if name != "finite"}
    if jax.process_count() > 1:  # all have the same metrics, so all come here, in the order of the batch
        index = np.asarray(multihost_utils.process_allgather(index, tiled=True))
    images = [int(i) for i in index]
    if jax.process_index() == 0:
        shown = {name: value if math.isfinite(value) else str(value) for name, value in values.items()}
        try:
            write_json(folder / "failure.json", {"step": step, "metrics": shown, "images": images})
        except OSError as error:
            log.warning("%s cannot be written: %s", folder / "failure.json", error)
    raise UserError(
        f"step {step}: the loss ({values['loss']}) or the norm of its gradient ({values['gradient_norm']}) is not "
        f"finite; the last good checkpoint is kept. Images of the batch: {', '.join(map(str, images[:8]))} ... (all in "
        f"{folder / 'failure.json'}). Try a lower optimizer.learning_rate"
    )


class StopSignal:
    """Asked once a step: has SIGTERM arrived (preemption)? Every process of the run gets the same answer."""

    def __enter__(self) -> Callable[[int], bool]:
        self.previous: Any = None
        if jax.process_count() > 1:
            # A signal reaches the processes at different steps. JAX's coordination service takes it and names a step
            # that none of them has passed: to save earlier in one would leave the others waiting in a collective.
            return multihost_utils.reached_preemption_sync_point
        stop = threading.Event()
        if threading.current_thread() is threading.main_thread():
            self.previous = signal.signal(signal.SIGTERM, lambda *_: stop.set())
        return lambda step: stop.is_set()

    def __exit__(self, *_: Any) -> None:
        if self.previous is not None:
            signal.signal(signal.SIGTERM, self.previous)
