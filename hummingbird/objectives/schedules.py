"""Schedules besides the learning rate: EMA decay, weight decay, temperatures."""

# Optax has no stubs, and JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportMissingTypeStubs=false

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp
import optax

from hummingbird.config import PretrainConfig
from hummingbird.config.objectives import DISTILLED

# {name: a number, or a function of the step}
Schedules = Mapping[str, optax.ScalarOrSchedule]


def build_schedules(config: PretrainConfig, total_steps: int, steps_per_epoch: float) -> Schedules:
    """Builds the schedules besides the learning rate, by name; a constant is a number.

    Args:
      config: reads `batch_size`, `ema_decay` and what goes with it, `optimizer`, `contrastive` and `dino`.
      total_steps: K, steps of the run.
      steps_per_epoch: optimiser steps of a pass over the data.
    """
    optimizer, contrastive = config.optimizer, config.contrastive
    weight_decay: optax.ScalarOrSchedule = optimizer.weight_decay
    if optimizer.final_weight_decay is not None:
        weight_decay = cosine(optimizer.weight_decay, optimizer.final_weight_decay, total_steps)
    temperature: optax.ScalarOrSchedule = contrastive.temperature
    if contrastive.warmup_temperature is not None:
        steps = round(contrastive.warmup_temperature_epochs * steps_per_epoch)
        temperature = warm_up(contrastive.warmup_temperature, contrastive.temperature, steps)
    decay = scaled_decay(config.ema_decay, config.batch_size, config.ema_reference_batch)
    ema: optax.ScalarOrSchedule = cosine(decay, 1.0, total_steps) if config.ema_schedule == "cosine" else decay
    schedules: Schedules = {"weight_decay": weight_decay, "ema_decay": ema, "temperature": temperature}
    if config.objective.name not in DISTILLED:
        return schedules
    dino = config.dino
    steps, frozen = (round(epochs * steps_per_epoch) for epochs in (dino.warmup_epochs, dino.frozen_epochs))
    return {
        **schedules,
        "teacher_temperature": warm_up(dino.warmup_teacher_temperature, dino.teacher_temperature, steps),
        "prototypes": lambda step: jnp.where(jnp.asarray(step) < frozen, 0.0, 1.0),  # whether they are trained
    }


def scaled_decay(decay: float, batch_size: int, reference_batch: int | None) -> float:
    """Returns decay ** (batch_size / reference_batch), the same decay per image (Busbridge et al. 2023).

    Example:
      >>> round(scaled_decay(0.99, 1024, 4096), 6), scaled_decay(0.99, 1024, None)
      (0.997491, 0.99)
    """
    return decay if reference_batch is None else decay ** (batch_size / reference_batch)


def cosine(start: float, end: float, total_steps: int) -> optax.Schedule:
    """Builds a schedule from `start` to `end` along half a cosine: with end 1, the EMA decay of BYOL (Sec. 3.2).

    Example:
      >>> decay = cosine(0.996, 1.0, total_steps=100)
      >>> [round(float(decay(step)), 4) for step in (0, 50, 100)]
      [0.996, 0.998, 1.0]
    """
    return lambda step: end - (end - start) * (jnp.cos(jnp.pi * jnp.minimum(step, total_steps) / total_steps) + 1) / 2


def warm_up(start: float, end: float, steps: int) -> optax.Schedule:
    """Builds a schedule from `start` to `end` along a line of `steps` steps, constant from there on; 0 steps: `end`.

    Example:
      >>> temperature = warm_up(0.04, 0.07, steps=30)
      >>> [round(float(temperature(step)), 3) for step in (0, 10, 30, 99)]
      [0.04, 0.05, 0.07, 0.07]
    """
    return lambda step: start + (end - start) * (jnp.minimum(step / steps, 1.0) if steps else jnp.ones(()))
