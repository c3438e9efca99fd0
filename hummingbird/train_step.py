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
from hummingbird.config import PretrainConfig
from hummingbird.data.augment import photometric
from hummingbird.models import context
from hummingbird.models.context import MemoryBank
from hummingbird.models.pretrainer import Pretrainer, Seen, patch_features

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
    model: Pretrainer, optimizer: optax.GradientTransformation, key: Array, shape: tuple[int, ...], bank: MemoryBank
) -> TrainState:
    """Step 0: theta drawn, xi = theta, the bank as given (filled by `make_fill_step` before the first step).

    Args:
      shape: of the views, [B, 2, S, S, 3]. Only shapes follow from it: jitted, nothing is computed with the views.
    """
    variables = model.init(key, jnp.zeros(shape, jnp.float32), bank.keys)
    params, stats = variables["params"], variables.get("batch_stats", {})
    copy = lambda tree: jax.tree.map(jnp.copy, tree)  # donated buffers must not be shared
    return TrainState(jnp.zeros((), jnp.int32), params, copy(params), stats, copy(stats), optimizer.init(params), bank)


def make_train_step(
    model: Pretrainer,
    optimizer: optax.GradientTransformation,
    *,
    seed: int,
    augment: Any,
    micro_batches: int,
    tau: float,
    contrastive_weight: float,
    supervised_weight: float,
    supervised_beta: float,
    ema_decay: float,
    everywhere: Callable[[Any], Any] = lambda arrays: arrays,
) -> Callable[[TrainState, Array, Array], tuple[TrainState, dict[str, Array]]]:
    """The function (state, views [B, 2, S, S, 3] uint8, labels [B] int) -> (state, metrics), to be jitted.

    Args:
      model: the network, applied to theta and to xi.
      optimizer: of theta.
      seed: augmentation is keyed by fold_in(seed, step).
      augment: settings of `data.augment.photometric`.
      micro_batches: parts of the batch that pass the encoders one after the other; the result is the same.
      tau: temperature of Eq. 4.
      contrastive_weight, supervised_weight: weights of L_SSL and of the cross-entropy of labels (alpha).
      supervised_beta: temperature of the attention that predicts labels.
      ema_decay: xi <- decay xi + (1 - decay) theta.
      everywhere: puts arrays whole on every device, where there are several.
    """

    def network(params: Any, stats: Any, method: str, *arrays: Array) -> tuple[Any, Any]:
        variables = {"params": params, "batch_stats": stats}
        out, changed = model.apply(variables, *arrays, method=method, mutable=["batch_stats"])
        return out, changed.get("batch_stats", stats)

    def step(state: TrainState, views: Array, labels: Array) -> tuple[TrainState, dict[str, Array]]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        bank = state.bank

        def loss_fn(theta: Any) -> tuple[Array, Any]:
            # 1. The bank's values v = phi(k), by the network that attends to them.
            online_values, online_stats = network(theta, state.online_stats, "values", bank.keys)
            target_values, target_stats = network(state.target, state.target_stats, "values", bank.keys)

            # 2. Two views x1 ~ T1, x2 ~ T2, seen by theta and by xi: encoded, contextualised, pooled.
            def see(views: Array, positions: Array) -> tuple[Seen, Seen]:
                views = photometric(key, views, augment, positions)
                online, _ = network(theta, online_stats, "look", views, bank.keys, online_values)
                target, _ = network(state.target, target_stats, "look", views, bank.keys, target_values)
                return online, target

            online, target = in_micro_batches(see, micro_batches, views, jnp.arange(len(views)))

            # 3. Predictions of theta against the projections of xi, over the whole batch, whatever came in parts.
            total, metrics = jnp.zeros(()), {}
            if contrastive_weight:
                (_, predictions), online_stats = network(theta, online_stats, "predict", online.pooled)
                (projections, _), target_stats = network(state.target, target_stats, "predict", target.pooled)
                # Eq. 4 in both directions; their mean: the paper's L^ij averaged over (i, j) and (j, i).
                ssl = 0.5 * (
                    objectives.contrastive(predictions[:, 0], projections[:, 1], tau)
                    + objectives.contrastive(predictions[:, 1], projections[:, 0], tau)
                )
                total += contrastive_weight * ssl
                metrics |= {"loss_ssl": ssl, "top1": objectives.top1(predictions[:, 0], projections[:, 1])}

            # 4. Labels (Sec. 3.4), retrieved from the bank or, where there is none, by a linear classifier.
            if supervised_weight and model.classes:
                logits, _ = network(theta, online_stats, "classify", online.pooled)  # [B, 2, classes]
                ce, correct = objectives.classification(logits, labels)
                metrics = {"top1": correct, **metrics, "loss_classifier": ce, "classifier_top1": correct}
                total += supervised_weight * ce
            elif supervised_weight:
                keys, classes = everywhere((context.unit_keys(bank.keys, model.dtype), bank.labels))
                ce1, ce2 = (
                    objectives.retrieval_cross_entropy(pooled, keys, classes, labels, supervised_beta)
                    for pooled in (online.pooled[:, 0], online.pooled[:, 1])
                )
                metrics["loss_retrieval"] = ce1 + ce2
                total += supervised_weight * metrics["loss_retrieval"]
            return total, (online, target, online_stats, target_stats, metrics)

        (loss, rest), gradients = jax.value_and_grad(loss_fn, has_aux=True)(state.online)
        seen, target, online_stats, target_stats, metrics = rest

        # 5. theta by AdamW, after clipping the global norm.
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.online)
        online = optax.apply_updates(state.online, updates)

        # 6. xi follows theta.
        xi = optax.incremental_update(online, state.target, 1 - ema_decay)

        # 7. The bank takes the target of the first view, averaged over tokens (Eq. 2), for the steps to come.
        bank = context.push(bank, target.summary[:, 0], labels)

        norm = optax.tree.norm(gradients)
        entropy = -jnp.sum(seen.masks * jnp.log(seen.masks + 1e-12), axis=-1).mean()
        metrics |= {
            "loss": loss,
            "gradient_norm": norm,
            "parameter_norm": optax.tree.norm(online),
            "ema_distance": optax.tree.norm(jax.tree.map(jnp.subtract, online, xi)),
            "pooling_entropy": entropy,
            "finite": jnp.isfinite(loss) & jnp.isfinite(norm),
            **{f"bank_{name}": x.mean() for name, x in seen.bank.items()},
            **({"bank_age": context.mean_age(bank, len(labels))} if bank.keys.size else {}),
        }
        return TrainState(state.step + 1, online, xi, online_stats, target_stats, opt_state, bank), metrics

    return step


def in_micro_batches(see: Callable[..., Any], count: int, *batch: Array) -> Any:
    """see(*batch), the batch passing in `count` parts; what comes back is joined in the batch's order.

    Going backward each part is seen again, so that only one part's activations are in memory at a time. Part i takes
    the images i, i + count, ...: on several devices, an equal share of each one's own.

    Args:
      see: arrays [b, ...] -> tree of arrays [b, ...], each image by itself.
      count: divides B.
      batch: arrays [B, ...].
    """
    if count == 1:
        return see(*batch)
    parts = jax.tree.map(lambda x: x.reshape(-1, count, *x.shape[1:]).swapaxes(0, 1), batch)
    seen = jax.lax.map(jax.checkpoint(lambda part: see(*part), prevent_cse=False), parts)
    return jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(-1, *x.shape[2:]), seen)


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
