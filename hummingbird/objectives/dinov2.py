"""DINOv2 (Oquab et al. 2023): iBOT with KoLeo, which spreads the features of a batch evenly.

Its further choices are settings: Sinkhorn-Knopp (`dino.centring`), heads of their own for patches
(`ibot.separate_head`), LayerScale and stochastic depth of the encoder.
"""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from hummingbird.config import PretrainConfig
from hummingbird.data.views import GLOBAL
from hummingbird.models.network import Network
from hummingbird.models.params import AnyArray, Params
from hummingbird.objectives.contrastive import without_self
from hummingbird.objectives.ibot import IBOT, build_heads, build_masks
from hummingbird.objectives.interface import Batch, Loss, Replicate, Scheduled

EPSILON = 1e-8  # keeps the logarithm finite for two equal features


@dataclasses.dataclass(frozen=True)
class DINOv2(IBOT):
    """L_[CLS] + weight L_MIM + koleo_weight KoLeo; see `IBOT`."""

    def loss(self, online: Network, target: Network | None, batch: Batch, extra: Params, schedules: Scheduled) -> Loss:
        """Computes the loss of the whole batch; KoLeo is summed over the student's global views, as in their code."""
        loss, pooled = super().loss(online, target, batch, extra, schedules), online.outputs[GLOBAL].pooled
        spread = jnp.sum(jnp.stack([koleo(pooled[:, i]) for i in range(pooled.shape[1])]))
        value = loss.value + self.settings.koleo_weight * spread
        return loss._replace(value=value, metrics={**loss.metrics, "loss_koleo": spread})


def koleo(features: Float[AnyArray, "B D"]) -> Float[Array, ""]:
    """Computes -1/n sum_i log min_j |x_i - x_j| for normalised x (Sablayrolles et al. 2019, Eq. 3; DINOv2, Sec. 4).

    Args:
      features: normalised here. Neighbours are those of the whole batch, not of one device's images.

    Example:
      >>> round(float(koleo(jnp.eye(2))), 4)  # -log sqrt(2)
      -0.3466
    """
    nearest = jnp.max(without_self(features, 1.0), axis=1)  # the largest cosine
    # |x - y|^2 = 2 - 2 cos; log |x - y| is half of its logarithm.
    return -0.5 * jnp.mean(jnp.log(jnp.maximum(2 - 2 * nearest, EPSILON)))


def build(config: PretrainConfig, replicate: Replicate) -> DINOv2:
    """Builds the objective from `dino`, `ibot`, `encoder`, `input_size` and `dtype` of a config.

    Raises:
      UserError: as `ibot.build_masks` raises.
    """
    return DINOv2(build_heads(config), config.dino, config.ibot, *build_masks(config))
