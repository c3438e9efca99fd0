"""The optimiser and its learning rate."""

# JAX's own annotations are partly unknown, and Optax has no stubs.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportMissingTypeStubs=false

from __future__ import annotations

import functools
import logging
from typing import Any

import jax
import optax
from jax import Array

from hummingbird.config.pretrain import Optimizer
from hummingbird.errors import UserError

log = logging.getLogger(__name__)


def peak_learning_rate(settings: Optimizer, batch_size: int) -> float:
    """Returns the peak learning rate: `learning_rate * batch_size / reference_batch` if there is a reference.

    Example:
      >>> peak_learning_rate(Optimizer(learning_rate=1.5e-4, reference_batch=256), 4096)  # MoCo v3
      0.0024
    """
    if settings.reference_batch is None:
        return settings.learning_rate
    return settings.learning_rate * batch_size / settings.reference_batch


def build_learning_rate(
    settings: Optimizer, total_steps: int, steps_per_epoch: float, batch_size: int
) -> optax.Schedule:
    """Builds the learning rate by step: a linear warm-up, then a cosine to `final_learning_rate` (App. C.2).

    Args:
      settings: reads `learning_rate`, `reference_batch`, `final_learning_rate` and the warm-up.
      total_steps: steps of the run.
      steps_per_epoch: steps of a pass over the data.
      batch_size: images in the global batch.

    Raises:
      UserError: the final learning rate is above the peak.
    """
    peak, final = peak_learning_rate(settings, batch_size), settings.final_learning_rate
    if final > peak:
        raise UserError(f"config key optimizer.final_learning_rate: {final} is above the peak of {peak:.3g}; use less")
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
    return optax.warmup_cosine_decay_schedule(0.0, peak, warmup, total_steps, final)


def build_optimizer(
    settings: Optimizer,
    learning_rate: optax.Schedule,
    weight_decay: optax.ScalarOrSchedule,
    frozen: tuple[str, ...] = (),
) -> optax.GradientTransformation:
    """Builds AdamW, which clips the global norm of the gradient first (App. C.2).

    Weight decay applies to kernels only: not to biases, norms, position embeddings or [CLS].

    Args:
      settings: reads `clip_norm`, `b1` and `b2`.
      learning_rate: by step.
      weight_decay: a number, or by step.
      frozen: names of modules that get no gradient, and thus must not decay either.
    """
    return optax.chain(
        optax.identity() if settings.clip_norm is None else optax.clip_by_global_norm(settings.clip_norm),
        optax.adamw(
            learning_rate,
            b1=settings.b1,
            b2=settings.b2,
            weight_decay=weight_decay,
            mask=functools.partial(jax.tree_util.tree_map_with_path, functools.partial(_decays, frozen)),
        ),
    )


def _decays(frozen: tuple[str, ...], path: tuple[Any, ...], _: Array) -> bool:
    return path[-1].key == "kernel" and not any(entry.key in frozen for entry in path)
