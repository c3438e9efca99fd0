"""BYOL (Grill et al. 2020): predictions of one view regress the target network's projections of the other.

The target network is the moving average of the paper's Eq. 1, with `ema_schedule=cosine`.
"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from hummingbird.config import PretrainConfig
from hummingbird.models.heads import MlpHead, ProjectorPredictor
from hummingbird.models.network import Network
from hummingbird.models.params import AnyArray, Params
from hummingbird.models.pretrainer import DTYPES
from hummingbird.objectives.contrastive import top1
from hummingbird.objectives.interface import Batch, Loss, Replicate, Scheduled
from hummingbird.objectives.siamese import Siamese, cosine


def regression(prediction: Float[AnyArray, "B P"], target: Float[AnyArray, "B P"]) -> Float[Array, ""]:
    """Computes the mean squared distance of unit vectors, 2 - 2 cos (Eq. 2 of BYOL).

    Args:
      prediction: predictions q(z) of one view; normalised here.
      target: target projections z' of the other view; normalised here, without gradient.

    Returns:
      The mean over the batch, float32, between 0 and 4.

    Example:
      >>> float(regression(jnp.eye(2), jnp.eye(2)[::-1]))
      2.0
    """
    return 2 - 2 * jnp.mean(cosine(prediction, target))


@dataclasses.dataclass(frozen=True)
class BYOL(Siamese):
    """The sum of Eq. 2 in both directions; see `interface.Objective`."""

    def loss(self, online: Network, target: Network | None, batch: Batch, extra: Params, schedules: Scheduled) -> Loss:
        """Computes the loss of the whole batch."""
        q, z, online, target = self.embed(online, target)
        value = regression(q[:, 0], z[:, 1]) + regression(q[:, 1], z[:, 0])
        return Loss(value, {"loss_ssl": value, "top1": top1(q[:, 0], z[:, 1])}, online, target, extra)


def build(config: PretrainConfig, replicate: Replicate) -> BYOL:
    """Builds the objective from `heads` and `dtype` of a config."""
    heads, dtype = config.heads, DTYPES[config.dtype]
    head = lambda: MlpHead(heads.hidden_dim, heads.output_dim, heads.bn_momentum, dtype)
    return BYOL(ProjectorPredictor(head(), head()))
