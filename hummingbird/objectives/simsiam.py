"""SimSiam (Chen and He 2021): BYOL without a target network; the gradient stops at the other view's projection."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from hummingbird.config import PretrainConfig
from hummingbird.models.context import l2_normalize
from hummingbird.models.heads import MlpHead, NormedHead, ProjectorPredictor
from hummingbird.models.network import Network
from hummingbird.models.params import AnyArray, Params
from hummingbird.models.pretrainer import DTYPES
from hummingbird.objectives.contrastive import top1
from hummingbird.objectives.interface import Batch, Loss, Replicate, Scheduled
from hummingbird.objectives.siamese import Siamese, cosine


def negative_cosine(prediction: Float[AnyArray, "B P"], target: Float[AnyArray, "B P"]) -> Float[Array, ""]:
    """Computes D(p, stopgrad(z)) = -cos(p, z) (Eq. 1 and 3 of SimSiam), the mean over the batch.

    Args:
      prediction: predictions p of one view; normalised here.
      target: projections z of the other view; normalised here, without gradient.

    Returns:
      The mean, float32, between -1 and 1.

    Example:
      >>> float(negative_cosine(jnp.eye(2), jnp.eye(2)))
      -1.0
    """
    return -jnp.mean(cosine(prediction, target))


@dataclasses.dataclass(frozen=True)
class SimSiam(Siamese):
    """Eq. 4 there: the mean of D in both directions; see `interface.Objective`."""

    has_target = False

    def loss(self, online: Network, target: Network | None, batch: Batch, extra: Params, schedules: Scheduled) -> Loss:
        """Computes the loss of the whole batch."""
        p, z, online, _ = self.embed(online, None)
        value = 0.5 * (negative_cosine(p[:, 0], z[:, 1]) + negative_cosine(p[:, 1], z[:, 0]))
        metrics = {"loss_ssl": value, "top1": top1(p[:, 0], z[:, 1]), "projection_std": projection_std(z[:, 0])}
        return Loss(value, metrics, online, None, extra)


def projection_std(z: Float[AnyArray, "B P"]) -> Float[Array, ""]:
    """Returns the deviation of unit projections over the batch, times sqrt(P): 1 for a sphere, 0 after a collapse."""
    return jnp.mean(jnp.std(l2_normalize(z), axis=0)) * z.shape[1] ** 0.5


def build(config: PretrainConfig, replicate: Replicate) -> SimSiam:
    """Builds the objective from `heads`, `simsiam` and `dtype` of a config."""
    heads, dtype = config.heads, DTYPES[config.dtype]
    projector = NormedHead(3, heads.hidden_dim, heads.output_dim, heads.bn_momentum, dtype)
    predictor = MlpHead(config.simsiam.bottleneck_dim, heads.output_dim, heads.bn_momentum, dtype)
    return SimSiam(ProjectorPredictor(projector, predictor))
