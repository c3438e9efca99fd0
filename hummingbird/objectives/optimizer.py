"""The optimiser, and everything that may change from step to step: learning rate, decays, temperatures."""

# JAX's own annotations are partly unknown, and Optax has no stubs.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportMissingTypeStubs=false

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from typing import Any

import jax
import optax
from jax import Array

from hummingbird.config import PretrainConfig
from hummingbird.config.pretrain import Optimizer

log = logging.getLogger(__name__)

# {name: a number, or a function of the step}
Schedules = Mapping[str, optax.ScalarOrSchedule]


def build_schedules(config: PretrainConfig) -> Schedules:
    """Builds the schedules beside the learning rate, by name; all are constant so far."""
    return {
        "weight_decay": config.optimizer.weight_decay,
        "ema_decay": config.ema_decay,
        "temperature": config.contrastive.temperature,
    }


def build_learning_rate(settings: Optimizer, total_steps: int, steps_per_epoch: float) -> optax.Schedule:
    """Builds the learning rate by step: a linear warm-up, then a cosine to 0 (App. C.2)."""
    warmup = settings.warmup_steps
    if warmup is None:
        warmup = round(settings.warmup_epochs * steps_per_epoch)
    if warmup >= total_steps:
        log.warning(
            "the warm-up of %d steps is longer than the run of %d and is cut; see optimizer.warmup_epochs and "
            "optimizer.warmup_steps",
            warmup,
            total_steps,
        )
        warmup = total_steps - 1
    return optax.warmup_cosine_decay_schedule(0.0, settings.learning_rate, warmup, total_steps)


def build_optimizer(
    settings: Optimizer, learning_rate: optax.Schedule, weight_decay: optax.ScalarOrSchedule
) -> optax.GradientTransformation:
    """Builds AdamW, which clips the global norm of the gradient first (App. C.2).

    Weight decay applies to kernels only: not to biases, norms, position embeddings or [CLS].
    """
    return optax.chain(
        optax.clip_by_global_norm(settings.clip_norm),
        optax.adamw(
            learning_rate,
            b1=settings.b1,
            b2=settings.b2,
            weight_decay=weight_decay,
            mask=functools.partial(jax.tree_util.tree_map_with_path, _is_kernel),
        ),
    )


def _is_kernel(path: tuple[Any, ...], _: Array) -> bool:
    return path[-1].key == "kernel"
