"""What a decoder is trained to predict for each kind of label: channels of its output, and the loss."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

import abc
import dataclasses
from typing import Literal

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int, Shaped

from hummingbird.config.finetune import FinetuneConfig
from hummingbird.decoders.head import Decoded
from hummingbird.decoders.losses import AUXILIARY, WARM_UP, cross_entropy, gradient_loss, regression_loss, sig_loss
from hummingbird.errors import UserError
from hummingbird.tasks import Task


class Target(abc.ABC):
    """What a decoder is trained to predict."""

    channels: int

    @abc.abstractmethod
    def loss(self, decoded: Decoded, labels: Shaped[Array, "B H W *C"], step: Array) -> Float[Array, ""]:
        """Returns the loss of a batch, 0 where no pixel has a label.

        Args:
          decoded: outputs of the head.
          labels: of the crops.
          step: optimiser steps taken.
        """


@dataclasses.dataclass(frozen=True)
class Classes(Target):
    """Cross-entropy over pixels; see `losses.cross_entropy`.

    Attributes:
      channels: number of classes.
      void: label of pixels without a class.
      over: pixels that it is divided by.
    """

    channels: int
    void: int
    over: Literal["valid", "all"]

    def loss(self, decoded: Decoded, labels: Int[Array, "B H W"], step: Array) -> Float[Array, ""]:
        loss = cross_entropy(decoded.output, labels, self.void, self.over)
        if decoded.auxiliary is None:
            return loss
        return loss + AUXILIARY * cross_entropy(decoded.auxiliary, labels, self.void, self.over)


@dataclasses.dataclass(frozen=True)
class Depths(Target):
    """SigLoss and the gradient loss of depth; see `losses`.

    Attributes:
      low, high: range of valid depths, metres.
      gradient_weight: weight of the gradient loss.
    """

    low: float
    high: float
    gradient_weight: float
    channels: int = 1

    def loss(self, decoded: Decoded, labels: Float[Array, "B H W"], step: Array) -> Float[Array, ""]:
        valid: Bool[Array, "B H W"] = jnp.isfinite(labels) & (labels >= self.low) & (labels <= self.high)
        loss = sig_loss(decoded.output, labels, valid, step < WARM_UP)
        return (
            loss + self.gradient_weight * gradient_loss(decoded.output, labels, valid) if self.gradient_weight else loss
        )


@dataclasses.dataclass(frozen=True)
class Values(Target):
    """Mean absolute error; see `losses.regression_loss`.

    Attributes:
      channels: of a pixel.
      low, high: range of labels that count.
    """

    channels: int
    low: float = -jnp.inf
    high: float = jnp.inf

    def loss(self, decoded: Decoded, labels: Float[Array, "B H W *C"], step: Array) -> Float[Array, ""]:
        labels = labels.reshape(*labels.shape[:3], self.channels)
        valid = jnp.isfinite(labels) & (labels >= self.low) & (labels <= self.high)
        return regression_loss(decoded.output, labels, valid.all(-1))


HEADS_FOR = {
    "segmentation": ("linear", "bn_linear", "segmenter", "upernet"),
    "depth": ("depth_bins", "regression"),
    "regression": ("regression",),
    "normals": ("regression",),
}


def build_target(task: Task, config: FinetuneConfig) -> Target:
    """Returns what a decoder is trained to predict.

    Args:
      task: kind of label.
      config: reads `decoder` and `depth`.

    Raises:
      UserError: the head does not predict such labels.
    """
    fitting = HEADS_FOR[task.kind]
    if config.decoder.name not in fitting:
        raise UserError(
            f"config key decoder.name: {config.decoder.name} does not predict {task.kind}; use {' or '.join(fitting)}"
        )
    if task.kind == "segmentation":
        return Classes(task.channels, int(task.void), config.decoder.loss_over)
    if config.decoder.name == "depth_bins":
        return Depths(config.depth.low, config.depth.high, config.decoder.gradient_weight)
    limits = (config.depth.low, config.depth.high) if task.kind == "depth" else ()
    return Values(task.channels, *limits)
