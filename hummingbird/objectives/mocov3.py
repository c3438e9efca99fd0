"""MoCo v3 (Chen, Xie and He 2021): InfoNCE between predictions and the target network's projections.

The loss is Eq. 4 of Hummingbird times 2 tau; the heads are deeper and end in batch norm. With a ViT the paper also
freezes the patch embedding: `encoder.freeze_patches`.
"""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from hummingbird.config import PretrainConfig
from hummingbird.models.heads import NormedHead, ProjectorPredictor
from hummingbird.models.network import Network
from hummingbird.models.params import AnyArray, Params
from hummingbird.models.pretrainer import DTYPES
from hummingbird.objectives.contrastive import contrastive, top1
from hummingbird.objectives.interface import Batch, Loss, Replicate, Scheduled
from hummingbird.objectives.siamese import Siamese


def info_nce(prediction: Float[AnyArray, "B P"], target: Float[AnyArray, "B P"], tau: ArrayLike) -> Float[Array, ""]:
    """Computes `ctr` of Algorithm 1: 2 tau times the InfoNCE loss (Eq. 1 of MoCo v3).

    Args:
      prediction: predictions q of one view; normalised here.
      target: target projections k of the other view; normalised here, without gradient.
      tau: temperature, > 0.

    Returns:
      The mean over the batch, float32.

    Example:
      >>> round(float(info_nce(jnp.eye(2), jnp.eye(2), tau=0.5)), 4)  # 2 tau log(1 + exp(-2))
      0.1269
    """
    return contrastive(prediction, target, tau) * (2 * jnp.asarray(tau))


@dataclasses.dataclass(frozen=True)
class MoCoV3(Siamese):
    """ctr(q1, k2) + ctr(q2, k1) of Algorithm 1; see `interface.Objective`."""

    def loss(self, online: Network, target: Network | None, batch: Batch, extra: Params, schedules: Scheduled) -> Loss:
        """Computes the loss of the whole batch."""
        q, k, online, target = self.embed(online, target)
        tau = schedules["temperature"]
        value = info_nce(q[:, 0], k[:, 1], tau) + info_nce(q[:, 1], k[:, 0], tau)
        return Loss(value, {"loss_ssl": value, "top1": top1(q[:, 0], k[:, 1])}, online, target, extra)


def build(config: PretrainConfig, replicate: Replicate) -> MoCoV3:
    """Builds the objective from `heads` and `dtype` of a config; `contrastive.temperature` is its tau."""
    heads, dtype = config.heads, DTYPES[config.dtype]
    projector, predictor = (
        NormedHead(layers, heads.hidden_dim, heads.output_dim, heads.bn_momentum, dtype) for layers in (3, 2)
    )
    return MoCoV3(ProjectorPredictor(projector, predictor))
