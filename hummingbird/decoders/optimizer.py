"""The optimiser of a decoder and its encoder, and the learning rate."""

# JAX's own annotations are partly unknown, and Optax has no stubs.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from collections.abc import Callable

import jax
import optax

from hummingbird.config.finetune import DecoderOptimizer
from hummingbird.decoders import layer_decay
from hummingbird.models.backbone import Backbone
from hummingbird.models.params import Params, subtree


def warmup_steps(settings: DecoderOptimizer, total_steps: int) -> int:
    """Returns the length of the warm-up, less than the run."""
    steps = round(settings.warmup * total_steps) if settings.warmup_steps is None else settings.warmup_steps
    return min(steps, total_steps - 1)


def build_schedule(settings: DecoderOptimizer, total_steps: int) -> optax.Schedule:
    """Builds the head's learning rate by step: a linear warm-up, then what `settings.schedule` says.

    As in mmseg, the decay counts from the first step, so with `poly` the warm-up ends below the peak.
    """
    decay, warmup = SCHEDULES[settings.schedule](settings, total_steps), warmup_steps(settings, total_steps)
    if not warmup:
        return decay
    rise = optax.linear_schedule(settings.warmup_from, 1.0, warmup)
    return lambda step: decay(step) * rise(step)


def _poly(settings: DecoderOptimizer, total_steps: int) -> optax.Schedule:
    peak = settings.learning_rate
    return optax.polynomial_schedule(peak, peak * settings.final, settings.power, total_steps)


def _cosine(settings: DecoderOptimizer, total_steps: int) -> optax.Schedule:
    return optax.cosine_decay_schedule(settings.learning_rate, total_steps, settings.final)


def _step(settings: DecoderOptimizer, total_steps: int) -> optax.Schedule:
    drops = {round(share * total_steps): settings.final for share in settings.drops}
    return optax.piecewise_constant_schedule(settings.learning_rate, drops)


SCHEDULES: dict[str, Callable[[DecoderOptimizer, int], optax.Schedule]] = {
    "poly": _poly,
    "cosine": _cosine,
    "step": _step,
}


def build_optimizer(
    settings: DecoderOptimizer, schedule: optax.Schedule, backbone: Backbone, params: Params
) -> optax.GradientTransformation:
    """Builds the optimiser; layer decay scales weight decay and learning rate alike.

    Args:
      settings: all but the schedule's.
      schedule: the head's learning rate by step.
      backbone: the encoder.
      params: shapes of the parameters that are trained: "decoder" and perhaps "encoder".
    """
    return optax.chain(
        optax.identity() if settings.clip_norm is None else optax.clip_by_global_norm(settings.clip_norm),
        *MOVES[settings.name](settings),
        _scaled(settings, backbone, params),
        optax.scale_by_learning_rate(schedule),
    )


def _scaled(settings: DecoderOptimizer, backbone: Backbone, params: Params) -> optax.GradientTransformation:
    if "encoder" not in params or (settings.encoder_rate == 1 and settings.layer_decay == 1):
        return optax.identity()
    encoder, rate, decay = subtree(params, "encoder"), settings.encoder_rate, settings.layer_decay
    if decay == 1:
        return layer_decay.scale_by({"encoder": rate, "decoder": 1.0})
    by_layer = layer_decay.factors(encoder, layer_decay.blocks_of(backbone), decay)
    return layer_decay.scale_by({"encoder": jax.tree.map(lambda factor: rate * factor, by_layer), "decoder": 1.0})


def _adamw(settings: DecoderOptimizer) -> list[optax.GradientTransformation]:
    decay = optax.add_decayed_weights(settings.weight_decay, mask=layer_decay.decays)
    return [optax.scale_by_adam(settings.b1, settings.b2), decay]


def _adam(settings: DecoderOptimizer) -> list[optax.GradientTransformation]:
    return _adamw(settings)[::-1]  # the decay is part of the gradient (L2)


def _sgd(settings: DecoderOptimizer) -> list[optax.GradientTransformation]:
    decay = optax.add_decayed_weights(settings.weight_decay, mask=layer_decay.decays)
    return [decay, optax.trace(settings.momentum, settings.nesterov)]


MOVES: dict[str, Callable[[DecoderOptimizer], list[optax.GradientTransformation]]] = {
    "adamw": _adamw,
    "adam": _adam,
    "sgd": _sgd,
}
