"""The algorithm on one page: one network function, two trees of parameters, and a memory bank (Sections 3.2-3.4)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax import Array

from hummingbird import objectives
from hummingbird.data.augment import photometric
from hummingbird.models import context
from hummingbird.models.context import MemoryBank
from hummingbird.models.pretrainer import Pretrainer, View, patch_features

log = logging.getLogger(__name__)


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
    online: Any
    target: Any
    online_stats: Any
    target_stats: Any
    opt_state: Any
    bank: MemoryBank


def init_state(
    model: Pretrainer, optimizer: optax.GradientTransformation, key: Array, input_size: int, bank: MemoryBank
) -> TrainState:
    """Step 0: theta drawn, xi = theta, the bank as given (filled by `make_fill_step` before the first step)."""
    views = jnp.zeros((2, 2, input_size, input_size, 3), jnp.float32)
    variables = model.init(key, views, bank.keys)
    params, stats = variables["params"], variables["batch_stats"]
    copy = lambda tree: jax.tree.map(jnp.copy, tree)  # donated buffers must not be shared
    return TrainState(jnp.zeros((), jnp.int32), params, copy(params), stats, copy(stats), optimizer.init(params), bank)


def make_train_step(
    model: Pretrainer,
    optimizer: optax.GradientTransformation,
    *,
    seed: int,
    augment: Any,
    tau: float,
    contrastive_weight: float,
    supervised_weight: float,
    supervised_beta: float,
    ema_decay: float,
) -> Callable[[TrainState, Array, Array], tuple[TrainState, dict[str, Array]]]:
    """The function (state, views [B, 2, S, S, 3] uint8, labels [B] int) -> (state, metrics), to be jitted.

    Args:
      model: the network, applied to theta and to xi.
      optimizer: of theta.
      seed: augmentation is keyed by fold_in(seed, step).
      augment: settings of `data.augment.photometric`.
      tau: temperature of Eq. 4.
      contrastive_weight, supervised_weight: weights of L_SSL and of the retrieval cross-entropy (alpha).
      supervised_beta: temperature of the attention that predicts labels.
      ema_decay: xi <- decay xi + (1 - decay) theta.
    """

    def network(params: Any, stats: Any, views: Array, bank: MemoryBank) -> tuple[list[View], Any]:
        outputs, changed = model.apply(
            {"params": params, "batch_stats": stats}, views, bank.keys, mutable=["batch_stats"]
        )
        return outputs, changed["batch_stats"]

    def step(state: TrainState, views: Array, labels: Array) -> tuple[TrainState, dict[str, Array]]:
        # 1. Two views x1 ~ T1, x2 ~ T2, cropped on the host: [B, 2, S, S, 3] in [0, 1].
        views = photometric(jax.random.fold_in(jax.random.key(seed), state.step), views, augment)

        # 2. Targets: the network with parameters xi, its own batch statistics, no gradient.
        (target1, target2), target_stats = network(state.target, state.target_stats, views, state.bank)

        # 3. Losses of the online network against the targets of the other view.
        def loss_fn(theta: Any) -> tuple[Array, Any]:
            (view1, view2), stats = network(theta, state.online_stats, views, state.bank)
            # Eq. 4 in both directions; their mean, so that the total is the paper's L^ij averaged over (i, j), (j, i).
            ssl = 0.5 * (
                objectives.contrastive(view1.prediction, target2.projection, tau)
                + objectives.contrastive(view2.prediction, target1.projection, tau)
            )
            total = contrastive_weight * ssl
            metrics = {"loss_ssl": ssl}
            if supervised_weight:  # Sec. 3.4
                ce1, ce2 = (
                    objectives.retrieval_cross_entropy(
                        view.pooled, state.bank.keys, state.bank.labels, labels, supervised_beta
                    )
                    for view in (view1, view2)
                )
                ce = ce1 + ce2
                total = total + supervised_weight * ce
                metrics["loss_retrieval"] = ce
            return total, (stats, view1, metrics)

        (loss, (online_stats, view1, metrics)), gradients = jax.value_and_grad(loss_fn, has_aux=True)(state.online)

        # 4. theta by AdamW, after clipping the global norm.
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.online)
        online = optax.apply_updates(state.online, updates)

        # 5. xi follows theta.
        target = optax.incremental_update(online, state.target, 1 - ema_decay)

        # 6. The bank takes the target of the first view, averaged over tokens (Eq. 2), for the steps to come.
        bank = context.push(state.bank, target1.tokens.mean(axis=1), labels)

        norm = optax.tree.norm(gradients)
        metrics |= {
            "loss": loss,
            "top1": _top1(view1.prediction, target2.projection),
            "gradient_norm": norm,
            "parameter_norm": optax.tree.norm(online),
            "ema_distance": optax.tree.norm(jax.tree.map(jnp.subtract, online, target)),
            "pooling_entropy": -jnp.sum(view1.masks * jnp.log(view1.masks + 1e-12), axis=1).mean(),
            "finite": jnp.isfinite(loss) & jnp.isfinite(norm),
        }
        if view1.nearest is not None and view1.entropy is not None:
            metrics |= {"bank_similarity": view1.nearest.mean(), "bank_entropy": view1.entropy.mean()}
        return TrainState(state.step + 1, online, target, online_stats, target_stats, opt_state, bank), metrics

    return step


def make_fill_step(
    model: Pretrainer, *, seed: int, augment: Any
) -> Callable[[TrainState, Array, Array, Array], TrainState]:
    """The function (state, views, labels, i) -> state that fills the bank before step 0, without a change to theta."""

    def fill(state: TrainState, views: Array, labels: Array, i: Array) -> TrainState:
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), 2**31 - 1), i)
        first = photometric(key, views, augment)[:, 0]
        features = patch_features(model, {"params": state.target}, first)  # [B, h, w, D]
        return state.replace(bank=context.push(state.bank, features.mean(axis=(1, 2)), labels))

    return fill


def _top1(prediction: Array, target: Array) -> Array:
    """Share of predictions whose nearest target in the batch is their own image's."""
    logits = objectives.contrastive_logits(prediction, target, 1.0)
    return jnp.mean(jnp.argmax(logits, axis=1) == jnp.arange(len(logits)))


def build_optimizer(config: Any, total_steps: int, steps_per_epoch: float) -> tuple[Any, optax.Schedule]:
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
