"""The algorithm on one page: one network function, two trees of parameters, and a memory bank (Sections 3.2-3.4)."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax import Array
from jaxtyping import Int, UInt8

from hummingbird import objectives
from hummingbird.config import PretrainConfig
from hummingbird.data.augment import Photometric, photometric
from hummingbird.models import context
from hummingbird.models.context import ContextBank
from hummingbird.models.network import Network
from hummingbird.models.params import Params
from hummingbird.models.pretrainer import Pretrainer, ViewOutputs, patch_features

log = logging.getLogger(__name__)
Outputs = TypeVar("Outputs")


class TrainState(flax.struct.PyTreeNode):
    """Everything that a step changes. Randomness is derived from the seed and `step`, so there is no RNG state.

    Attributes:
      step: int32, optimiser steps taken.
      online, target: parameters theta and xi.
      online_stats, target_stats: running batch-norm statistics of each network.
      opt_state: of the optax chain.
      bank: Mp.
    """

    step: Array
    online: Params
    target: Params
    online_stats: Params
    target_stats: Params
    opt_state: optax.OptState
    bank: ContextBank


def init_state(
    model: Pretrainer, optimizer: optax.GradientTransformation, key: Array, shape: tuple[int, ...], bank: ContextBank
) -> TrainState:
    """Returns the state at step 0: random theta, xi = theta, and the bank as given (`fill_step` fills it).

    Args:
      model: the network.
      optimizer: updates theta.
      key: PRNG key.
      shape: shape of the views, [B, 2, S, S, 3]. Under `jax.jit` nothing is computed with the views.
      bank: an empty bank.
    """
    variables = model.init(key, jnp.zeros(shape, jnp.float32), bank.keys)
    params, stats = variables["params"], variables.get("batch_stats", {})
    copy = lambda tree: jax.tree.map(jnp.copy, shared(tree))  # donated buffers must not be shared
    return TrainState(jnp.zeros((), jnp.int32), params, copy(params), stats, copy(stats), optimizer.init(params), bank)


@dataclasses.dataclass(frozen=True)
class Algorithm:
    """What a step consists of; everything but the state and the batch.

    Attributes:
      model: the network, applied to theta and to xi.
      optimizer: updates theta.
      augment: settings of `data.augment.photometric`.
      seed: augmentation is keyed by fold_in(seed, step).
      micro_batches: parts of the batch that pass the encoders one after the other; the result does not depend on it.
      tau: temperature of Eq. 4.
      contrastive_weight, supervised_weight: weights of L_SSL and of the cross-entropy of labels (alpha).
      supervised_beta: temperature of the attention that predicts labels.
      ema_decay: xi <- decay xi + (1 - decay) theta.
      replicate: puts arrays whole on every device of a mesh.
    """

    model: Pretrainer
    optimizer: optax.GradientTransformation
    augment: Photometric
    seed: int
    micro_batches: int
    tau: float
    contrastive_weight: float
    supervised_weight: float
    supervised_beta: float
    ema_decay: float
    replicate: Callable[[tuple[Array, ...]], tuple[Array, ...]]


class Forward(NamedTuple):
    """What the forward pass leaves besides the loss.

    Attributes:
      outputs, targets: of theta and of xi.
      online_stats, target_stats: running batch-norm statistics.
      metrics: scalars.
    """

    outputs: ViewOutputs
    targets: ViewOutputs
    online_stats: Params
    target_stats: Params
    metrics: dict[str, Array]


def train_step(
    algorithm: Algorithm, state: TrainState, views: UInt8[Array, "B 2 S S 3"], labels: Int[Array, " B"]
) -> tuple[TrainState, dict[str, Array]]:
    """Takes one step: returns the new state and the metrics of the batch."""
    gradient = jax.value_and_grad(functools.partial(forward, algorithm, state, views, labels), has_aux=True)
    (loss, passed), gradients = gradient(state.online)

    # 4. theta by AdamW, after clipping the global norm.
    updates, opt_state = algorithm.optimizer.update(gradients, state.opt_state, state.online)
    theta = optax.apply_updates(state.online, updates)

    # 5. xi follows theta.
    xi = optax.incremental_update(shared(theta), state.target, 1 - algorithm.ema_decay)

    # 6. The bank takes the target of the first view, averaged over tokens (Eq. 2), for the steps to come.
    bank = context.push(state.bank, passed.targets.summary[:, 0], labels)

    norm = optax.tree.norm(gradients)
    masks = passed.outputs.masks
    metrics = passed.metrics | {
        "loss": loss,
        "gradient_norm": norm,
        "parameter_norm": optax.tree.norm(theta),
        "ema_distance": optax.tree.norm(jax.tree.map(jnp.subtract, shared(theta), xi)),
        "pooling_entropy": -jnp.sum(masks * jnp.log(masks + 1e-12), axis=-1).mean(),
        "finite": jnp.isfinite(loss) & jnp.isfinite(norm),
        **{f"bank_{name}": x.mean() for name, x in passed.outputs.attention_stats.items()},
    }
    stats = passed.online_stats, passed.target_stats
    return TrainState(state.step + 1, theta, xi, *stats, opt_state, bank), metrics


def forward(
    algorithm: Algorithm, state: TrainState, views: Array, labels: Array, theta: Params
) -> tuple[Array, Forward]:
    """Computes the loss of a batch, as a function of theta."""
    model, keys = algorithm.model, state.bank.keys
    key = jax.random.fold_in(jax.random.key(algorithm.seed), state.step)

    # 1. The bank's values v = phi(k), by the network that attends to them.
    values, online = Network(theta, state.online_stats).apply(model, Pretrainer.values, keys)
    target_values, target = Network(state.target, state.target_stats).apply(model, Pretrainer.values, keys)

    # 2. Two views x1 ~ T1, x2 ~ T2, by theta and by xi: encoded, contextualised, pooled.
    def encode(views: Array, positions: Array) -> tuple[ViewOutputs, ViewOutputs]:
        views = photometric(key, views, algorithm.augment, positions)
        outputs, _ = online.apply(model, Pretrainer.encode_views, views, keys, values)
        targets, _ = target.apply(model, Pretrainer.encode_views, views, keys, target_values)
        return outputs, targets

    outputs, targets = in_micro_batches(encode, algorithm.micro_batches, views, jnp.arange(len(views)))

    # 3. Predictions of theta against the projections of xi, on the full batch, also with micro-batches.
    total, metrics = jnp.zeros(()), {}
    if algorithm.contrastive_weight:
        projections, online = online.apply(model, Pretrainer.project, outputs.pooled)
        predictions, online = online.apply(model, Pretrainer.predict, projections)
        projections, target = target.apply(model, Pretrainer.project, targets.pooled)
        # Eq. 4 in both directions; their mean: the paper's L^ij averaged over (i, j) and (j, i).
        ssl = 0.5 * (
            objectives.contrastive(predictions[:, 0], projections[:, 1], algorithm.tau)
            + objectives.contrastive(predictions[:, 1], projections[:, 0], algorithm.tau)
        )
        total += algorithm.contrastive_weight * ssl
        metrics |= {"loss_ssl": ssl, "top1": objectives.top1(predictions[:, 0], projections[:, 1])}

    # Labels (Sec. 3.4), retrieved from the bank or, without a bank, by a linear classifier.
    if algorithm.supervised_weight and model.classes:
        logits, _ = online.apply(model, Pretrainer.classify, outputs.pooled)  # [B, 2, classes]
        ce, correct = objectives.classification(logits, labels)
        metrics |= {"loss_classifier": ce, "classifier_top1": correct}
        metrics.setdefault("top1", correct)
        total += algorithm.supervised_weight * ce
    elif algorithm.supervised_weight:
        unit_keys, classes = algorithm.replicate((context.unit_keys(keys, model.dtype), state.bank.labels))
        ce1, ce2 = (
            objectives.retrieval_cross_entropy(pooled, unit_keys, classes, labels, algorithm.supervised_beta)
            for pooled in (outputs.pooled[:, 0], outputs.pooled[:, 1])
        )
        metrics["loss_retrieval"] = ce1 + ce2
        total += algorithm.supervised_weight * metrics["loss_retrieval"]
    return total, Forward(outputs, targets, online.stats, target.stats, metrics)


ONLINE_ONLY = ("predictor", "classifier")  # heads that the target network does not have


def shared(params: Params) -> Params:
    """Returns the part of theta (or of its statistics) that xi has too."""
    return {name: tree for name, tree in params.items() if name not in ONLINE_ONLY}


def in_micro_batches(encode: Callable[..., Outputs], count: int, *batch: Array) -> Outputs:
    """Applies `encode` to `count` micro-batches and concatenates the results in batch order.

    The backward pass computes each part again, so that the activations of one part only are in memory at a time. Part i
    takes images i, i + count, ...: on several devices, an equal share of each device's own images.

    Args:
      encode: maps arrays [b, ...] to a tree of arrays [b, ...], each image on its own.
      count: divides B.
      batch: arrays [B, ...].
    """
    if count == 1:
        return encode(*batch)
    parts = jax.tree.map(lambda x: x.reshape(-1, count, *x.shape[1:]).swapaxes(0, 1), batch)
    outputs = jax.lax.map(jax.checkpoint(lambda part: encode(*part), prevent_cse=False), parts)
    return jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(-1, *x.shape[2:]), outputs)


def fill_step(
    algorithm: Algorithm, state: TrainState, views: UInt8[Array, "B 2 S S 3"], labels: Int[Array, " B"], i: Array
) -> TrainState:
    """Pushes the i-th batch into the bank before step 0; the networks stay as they are."""
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(algorithm.seed), 2**31 - 1), i)
    first = photometric(key, views, algorithm.augment)[:, 0]
    features = patch_features(algorithm.model, {"params": state.target}, first)  # [B, h, w, D]
    return state.replace(bank=context.push(state.bank, features.mean(axis=(1, 2)), labels))


def build_optimizer(config: PretrainConfig, total_steps: int, steps_per_epoch: float) -> tuple[Any, optax.Schedule]:
    """AdamW with clipping, linear warm-up and cosine decay to 0 (App. C.2), and its schedule.

    Weight decay is applied to kernels only: not to biases, norms, position embeddings or [CLS].
    """
    o = config.optimizer
    warmup = o.warmup_steps if o.warmup_steps is not None else round(o.warmup_epochs * steps_per_epoch)
    if warmup >= total_steps:
        log.warning(
            "the warm-up of %d steps is longer than the run of %d and is cut; see optimizer", warmup, total_steps
        )
        warmup = total_steps - 1
    schedule = optax.warmup_cosine_decay_schedule(0.0, o.learning_rate, warmup, total_steps)
    decayed = lambda params: jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)
    optimizer = optax.chain(
        optax.clip_by_global_norm(o.clip_norm),
        optax.adamw(schedule, b1=o.b1, b2=o.b2, weight_decay=o.weight_decay, mask=decayed),
    )
    return optimizer, schedule
