"""What a run compiles: the functions of a config, with the shapes and layout of their arrays."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import dataclasses
import functools
import logging
import math
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jax.typing import DTypeLike

from hummingbird import train_step
from hummingbird.config import PretrainConfig, replace
from hummingbird.data.augment import build_augment
from hummingbird.data.views import GLOBAL, build_view_groups
from hummingbird.devices import chips, flops
from hummingbird.devices import mesh as meshes
from hummingbird.models.context import init_bank
from hummingbird.models.pretrainer import Pretrainer, build_pretrainer
from hummingbird.objectives import Batch, build_objective
from hummingbird.objectives.optimizer import build_learning_rate, build_optimizer
from hummingbird.objectives.schedules import build_schedules
from hummingbird.train_step import Algorithm, TrainState

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Program:
    """A config made concrete: functions to compile, and the shapes and layout of their arrays.

    Attributes:
      algorithm: what a step consists of.
      mesh: devices of the run.
      total_steps: last step.
      schedule: learning rate by step.
      init: () -> state at step 0, with an empty bank.
      fill: (state, first views, i) -> state with the i-th batch in its bank.
      step: (state, batch) -> (state, metrics).
      state: shapes of the state (`jax.ShapeDtypeStruct`).
      batch: shapes of a global batch.
      first_views: the same with view 0 alone, which is all that `fill` takes.
      shardings: how the state is laid out.
    """

    algorithm: Algorithm
    mesh: Mesh
    total_steps: int
    schedule: optax.Schedule
    init: jax.stages.Wrapped
    fill: jax.stages.Wrapped
    step: jax.stages.Wrapped
    state: TrainState
    batch: Batch
    first_views: Batch
    shardings: TrainState

    @property
    def model(self) -> Pretrainer:
        """Encoder, contextualisation and pooling."""
        return self.algorithm.model


def build_program(config: PretrainConfig, examples: int, devices: list[Any] | None = None) -> Program:
    """Builds everything that a run compiles.

    Args:
      config: resolved config of kind "pretrain".
      examples: number of training images, which sets the length of an epoch.
      devices: to run on, or described by `plan`; None: all.

    Raises:
      UserError: the devices do not divide the batch or the bank, or the config does not fit its objective.
    """
    mesh = meshes.build_mesh(config, devices)
    split, whole = meshes.batch_sharding(mesh), meshes.replicated(mesh)
    model = build_pretrainer(config, mesh.devices.flat[0])
    objective = build_objective(config, functools.partial(jax.lax.with_sharding_constraint, shardings=whole))
    steps_per_epoch = examples / config.batch_size
    total_steps, learning_rate = learning_rate_of(config, examples)
    schedules = build_schedules(config, total_steps, steps_per_epoch)
    frozen = ("patch_embed",) if config.encoder.freeze_patches else ()
    algorithm = Algorithm(
        model=model,
        objective=objective,
        optimizer=build_optimizer(config.optimizer, learning_rate, schedules["weight_decay"], frozen),
        schedules=schedules,
        augment=build_augment(config),
        seed=config.seed,
        micro_batches=config.micro_batches,
        mesh=mesh,
    )

    def init() -> TrainState:
        stored = config.context.values == "stored"
        bank = init_bank(config.context.bank_length, config.batch_size, model.encoder.width, stored)
        return train_step.init_state(algorithm, jax.random.key(config.seed), bank, config.input_size)

    step, fill = (functools.partial(f, algorithm) for f in (train_step.train_step, train_step.fill_step))
    state = jax.eval_shape(init)
    shardings = meshes.state_shardings(mesh, state)
    slices = len({meshes.slice_of(device) for device in mesh.devices.flat})
    if slices > 1:
        networks = 2 if objective.has_target else 1
        log.info("%d slices, between which %s in each step", slices, crossings(state, networks, model.dtype))
    return Program(
        algorithm=algorithm,
        mesh=mesh,
        total_steps=total_steps,
        schedule=learning_rate,
        init=jax.jit(init, out_shardings=shardings),
        fill=jax.jit(fill, in_shardings=(shardings, split, whole), out_shardings=shardings, donate_argnums=0),
        step=jax.jit(step, in_shardings=(shardings, split), out_shardings=(shardings, whole), donate_argnums=0),
        state=state,
        batch=batch_shapes(config),
        first_views=jax.eval_shape(first_views, batch_shapes(config)),
        shardings=shardings,
    )


def crossings(state: TrainState, networks: int, dtype: DTypeLike) -> str:
    """Says how many bytes of the bank and of gradients a slice exchanges with the others in a step.

    Args:
      state: shapes of the state.
      networks: that attend to the bank, each to values of its own.
      dtype: in which keys and values are gathered.
    """
    gathered = state.bank.keys.size * jnp.dtype(dtype).itemsize * (1 + networks)
    summed = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state.online))
    return f"{gathered / 1e6:,.0f} MB of the bank are gathered and {summed / 1e6:,.0f} MB of gradients are summed"


def learning_rate_of(config: PretrainConfig, examples: int) -> tuple[int, optax.Schedule]:
    """Returns the last step of a config and its learning rate by step, for this number of training images."""
    steps_per_epoch = examples / config.batch_size
    total_steps = config.total_steps or math.ceil(config.epochs * steps_per_epoch)
    return total_steps, build_learning_rate(config.optimizer, total_steps, steps_per_epoch, config.batch_size)


def batch_shapes(config: PretrainConfig) -> Batch:
    """Returns the shapes of a global batch, as `jax.ShapeDtypeStruct`."""
    groups, size = build_view_groups(config), config.batch_size

    def batch() -> Batch:
        views = {name: jnp.zeros((size, g.count, g.size, g.size, 3), jnp.uint8) for name, g in groups.items()}
        return Batch(views, jnp.zeros((size,), jnp.int32))

    return jax.eval_shape(batch)


def first_views(batch: Batch) -> Batch:
    """Keeps view 0 of each image."""
    return Batch({GLOBAL: batch.views[GLOBAL][:, :1]}, batch.labels)


def seconds_at_peak(config: PretrainConfig, program: Program) -> float | None:
    """Returns the seconds of a step if all devices did its matrix products at their published bf16 peak.

    Divided by the measured time this is the model flops utilisation. Layers that `encoder.remat` computes twice count
    once; scores over the bank count as often as its streaming computes them. None if the peak is unknown.
    """
    chip = chips.find(program.mesh.devices.flat[0].device_kind)
    if chip is None:
        return None
    if config.encoder.remat:
        once = replace(config, {"encoder.remat": False})
        program = build_program(once, examples=1000 * config.batch_size, devices=list(program.mesh.devices.flat))
    return flops.count(program.step, program.state, program.batch) / (chip.flops * program.mesh.size)
