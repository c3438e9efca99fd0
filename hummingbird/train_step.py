"""The algorithm on one page: the same network with two sets of parameters, a memory bank, and an objective."""

# JAX's own annotations are partly unknown, and Optax has no stubs.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar, no_type_check

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import Mesh
from jax.typing import ArrayLike
from jaxtyping import Float, Int, Key, UInt8

from hummingbird.data.augment import Photometric, first_view, photometric
from hummingbird.data.views import GLOBAL
from hummingbird.models import context
from hummingbird.models.context import ContextBank
from hummingbird.models.network import Network, initialise, read_bank, values_to_store
from hummingbird.models.parallel import on_mesh
from hummingbird.models.params import Params
from hummingbird.models.pretrainer import Pretrainer, ViewOutputs, patch_features
from hummingbird.objectives import Batch, Objective
from hummingbird.objectives.interface import PerImage
from hummingbird.objectives.schedules import Schedules

Metrics = dict[str, Array]
Outputs = TypeVar("Outputs")


@no_type_check  # at run time: trees of shapes and of shardings have this class too
class TrainState(flax.struct.PyTreeNode):
    """Everything that a step changes. Randomness is derived from the seed and `step`, so there is no RNG state.

    Attributes:
      step: int32, optimiser steps taken.
      online: parameters theta.
      target: parameters xi; empty for objectives without a target network.
      online_stats, target_stats: running batch-norm statistics of each network.
      opt_state: state of the optax chain.
      bank: Mp; without slots if there is no contextualisation.
      extra: the objective's own state.
    """

    step: Array
    online: Params
    target: Params
    online_stats: Params
    target_stats: Params
    opt_state: optax.OptState
    bank: ContextBank
    extra: Params


@dataclasses.dataclass(frozen=True)
class Algorithm:
    """What a step consists of; everything but the state and the batch.

    Attributes:
      model: encoder, contextualisation and pooling.
      objective: heads and loss.
      optimizer: updates theta.
      schedules: {name: a number, or a function of the step}; see `build_schedules`.
      augment: {view group: settings of `data.augment.photometric`}.
      seed: augmentation is keyed by fold_in(seed, step).
      micro_batches: parts of the batch that pass the encoders one after the other; the result does not depend on it.
      mesh: devices of the run.
    """

    model: Pretrainer
    objective: Objective
    optimizer: optax.GradientTransformation
    schedules: Schedules
    augment: Mapping[str, Photometric]
    seed: int
    micro_batches: int
    mesh: Mesh


def train_step(algorithm: Algorithm, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    """Takes one step: returns the new state and the metrics of the batch."""
    schedules = {name: x(state.step) if callable(x) else x for name, x in algorithm.schedules.items()}

    # 1.-3. The loss, as a function of theta, and its gradient.
    passed: Passed
    loss_of = functools.partial(forward, algorithm, state, batch, schedules)
    (loss, passed), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.online)

    # 4. theta by AdamW, after clipping the global norm.
    updates, opt_state = algorithm.optimizer.update(gradients, state.opt_state, state.online)
    theta: Any = optax.apply_updates(state.online, updates)

    # 5. xi <- decay xi + (1 - decay) theta.
    xi: Any = optax.incremental_update(like(state.target, theta), state.target, 1 - schedules["ema_decay"])

    # 6. The bank takes the first view of each image, averaged over its tokens (Eq. 2), for the steps to come.
    bank, online_stats, target_stats = state.bank, passed.online_stats, passed.target_stats
    if bank.keys.size:
        keys = (passed.targets or passed.outputs)[GLOBAL].summary[:, 0]
        if passed.targets:
            values, target_stats = values_to_store(algorithm.model, state.target, target_stats, bank, keys)
        else:
            values, online_stats = values_to_store(algorithm.model, state.online, online_stats, bank, keys)
        bank = context.push(bank, keys, batch.labels, values)

    norm = optax.tree.norm(gradients)
    metrics = passed.metrics | {
        "loss": loss,
        "gradient_norm": norm,
        "parameter_norm": optax.tree.norm(theta),
        "finite": jnp.isfinite(loss) & jnp.isfinite(norm),
    }
    if GLOBAL in passed.outputs:
        metrics |= attention_metrics(passed.outputs[GLOBAL])
    metrics |= {name: value for name, value in schedules.items() if callable(algorithm.schedules[name])}
    if xi:
        metrics["ema_distance"] = optax.tree.norm(jax.tree.map(jnp.subtract, like(xi, theta), xi))
    return TrainState(state.step + 1, theta, xi, online_stats, target_stats, opt_state, bank, passed.extra), metrics


class Passed(NamedTuple):
    """What the forward pass leaves besides the loss.

    Attributes:
      outputs, targets: what the online and the target network made of the batch, by view group.
      online_stats, target_stats: running batch-norm statistics.
      extra: the objective's own state.
      metrics: scalars.
    """

    outputs: PerImage
    targets: PerImage
    online_stats: Params
    target_stats: Params
    extra: Params
    metrics: Metrics


def forward(
    algorithm: Algorithm, state: TrainState, batch: Batch, schedules: Mapping[str, ArrayLike], theta: Params
) -> tuple[Float[Array, ""], Passed]:
    """Computes the loss of a batch as a function of theta."""
    model, objective = algorithm.model, algorithm.objective
    key = jax.random.fold_in(jax.random.key(algorithm.seed), state.step)

    # 1. The bank's values v = phi(k) [slots, rows, D], by the network that attends to them.
    online = read_bank(model, theta, state.online_stats, state.bank)
    target = read_bank(model, state.target, state.target_stats, state.bank) if objective.has_target else None

    # 2. Views x1 ~ T1, x2 ~ T2, ... [B, V, S, S, 3], by theta and by xi: encoded, contextualised, pooled [B, V, D].
    encode = on_mesh(functools.partial(encode_images, algorithm), algorithm.mesh)
    networks = [online, target] if target else [online]
    outputs, targets = encode(networks, key, batch.views, jnp.arange(len(batch.labels)))
    online = dataclasses.replace(online, outputs=outputs)
    target = target and dataclasses.replace(target, outputs=targets)

    # 3. The objective, on the full batch, also with micro-batches.
    loss = objective.loss(online, target, batch, state.extra, schedules)
    target_stats = loss.target.stats if loss.target else state.target_stats
    return loss.value, Passed(outputs, targets, loss.online.stats, target_stats, loss.extra, loss.metrics)


def encode_images(
    algorithm: Algorithm,
    networks: list[Network],
    key: Key[Array, ""],
    views: Mapping[str, UInt8[Array, "b _ _ _ 3"]],
    positions: Int[Array, " b"],
) -> tuple[PerImage, PerImage]:
    """Computes what the networks make of a device's images; see `Objective.per_image`.

    Args:
      algorithm: what the step consists of.
      networks: the online network, and the target network if there is one.
      key: of the step.
      views: by group.
      positions: of the images in the global batch.
    """
    online, target = networks[0], networks[1] if len(networks) > 1 else None

    def encode(views: Mapping[str, Array], positions: Array) -> tuple[PerImage, PerImage]:
        rngs = jax.vmap(jax.random.fold_in, (None, 0))(key, positions)
        student = dataclasses.replace(online, drop_keys=rngs) if algorithm.model.encoder.drop_path else online
        return algorithm.objective.per_image(student, target, augmented(algorithm, key, views, positions), rngs)

    return in_micro_batches(encode, algorithm.micro_batches, views, positions)


def augmented(
    algorithm: Algorithm,
    key: Key[Array, ""],
    views: Mapping[str, UInt8[Array, "b _ _ _ 3"]],
    positions: Int[Array, " b"],
) -> dict[str, Float[Array, "b _ _ _ 3"]]:
    """Augments each group of views [b, V, S, S, 3] with its own settings; pixels become float32 in [0, 1].

    What happens to an image depends only on the key, the group and the image's position in the global batch.
    """
    keys = {name: jax.random.fold_in(key, i) if i else key for i, name in enumerate(algorithm.augment)}
    return {name: photometric(keys[name], views[name], algorithm.augment[name], positions) for name in views}


def in_micro_batches(encode: Callable[..., Outputs], count: int, *batch: Any) -> Outputs:
    """Applies `encode` to `count` micro-batches and concatenates the results in batch order.

    The backward pass computes each part again, so that the activations of one part only are in memory at a time. Part i
    takes images i, i + count, ...: on several devices, an equal share of each device's own images.

    Args:
      encode: maps trees of arrays [b, ...] to a tree of arrays [b, ...], each image on its own.
      count: divides B.
      batch: trees of arrays [B, ...].
    """
    if count == 1:
        return encode(*batch)

    def split(x: Array) -> Array:
        return x.reshape(-1, count, *x.shape[1:]).swapaxes(0, 1)

    def join(x: Array) -> Array:
        return x.swapaxes(0, 1).reshape(-1, *x.shape[2:])

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def part(arrays: tuple[Any, ...]) -> Outputs:
        return encode(*arrays)

    return jax.tree.map(join, jax.lax.map(part, jax.tree.map(split, batch)))


def attention_metrics(outputs: ViewOutputs) -> Metrics:
    """Returns the mean entropy of the pooling attention (Eq. 3) and means of the attention over the bank."""
    entropy = -jnp.sum(outputs.masks * jnp.log(outputs.masks + 1e-12), axis=-1).mean()
    return {"pooling_entropy": entropy, **{f"bank_{name}": x.mean() for name, x in outputs.attention_stats.items()}}


def like(target: Params, theta: Params) -> Params:
    """Returns the part of theta that the target network has too."""
    return {name: theta[name] for name in target}


def init_state(algorithm: Algorithm, key: Key[Array, ""], bank: ContextBank, size: int) -> TrainState:
    """Returns the state at step 0: random theta, xi = theta, and the bank as given (`fill_step` fills it).

    Args:
      algorithm: what the step consists of.
      key: PRNG key.
      bank: an empty bank.
      size: side of the views, pixels. Under `jax.jit` nothing is computed with views.
    """
    model, objective = algorithm.model, algorithm.objective
    params, running = initialise(model, key, jnp.zeros((2, 2, size, size, 3)), bank.keys)
    heads = objective.init(key, model.encoder.width)
    theta, stats = {**params, **heads.params}, {**running, **heads.stats}
    # Copies, because a step donates its buffers.
    xi, target_stats = (
        {name: jax.tree.map(jnp.copy, x) for name, x in tree.items() if name not in objective.online_only}
        if objective.has_target
        else {}
        for tree in (theta, stats)
    )
    opt_state = algorithm.optimizer.init(theta)
    return TrainState(jnp.zeros((), jnp.int32), theta, xi, stats, target_stats, opt_state, bank, heads.extra)


def fill_step(algorithm: Algorithm, state: TrainState, batch: Batch, i: Array) -> TrainState:
    """Pushes the i-th batch into the bank before step 0; the networks stay as they are. Only view 0 is used."""
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(algorithm.seed), 2**31 - 1), i)
    table = first_view(algorithm.augment[GLOBAL])

    def encode(views: UInt8[Array, "b 1 S S 3"], positions: Int[Array, " b"]) -> Float[Array, "b D"]:
        first = photometric(key, views, table, positions)[:, 0]
        features = patch_features(algorithm.model, {"params": state.target or state.online}, first)  # [b, h, w, D]
        return features.mean(axis=(1, 2))

    views, positions = batch.views[GLOBAL][:, :1], jnp.arange(len(batch.labels))
    keys = in_micro_batches(encode, algorithm.micro_batches, views, positions)
    stats = state.target_stats if state.target else state.online_stats
    values, _ = values_to_store(algorithm.model, state.target or state.online, stats, state.bank, keys)
    return state.replace(bank=context.push(state.bank, keys, batch.labels, values))
