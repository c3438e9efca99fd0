"""SimCLR (Chen et al. 2020): NT-Xent between the projections of two views by one network, with or without context."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float, Key

from hummingbird.config import PretrainConfig
from hummingbird.data.views import GLOBAL
from hummingbird.models.heads import MlpHead
from hummingbird.models.network import Network, initialise
from hummingbird.models.params import Params
from hummingbird.models.pretrainer import DTYPES
from hummingbird.objectives.contrastive import nt_xent, top1
from hummingbird.objectives.interface import Batch, Common, Heads, Loss, Replicate, Scheduled


class SimCLRHeads(nn.Module):
    """The projection head g.

    Attributes:
      hidden, output: widths.
      bn_momentum: decay of the running batch-norm statistics.
      dtype: compute type.
    """

    hidden: int
    output: int
    bn_momentum: float
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.projector = MlpHead(self.hidden, self.output, self.bn_momentum, self.dtype)

    def __call__(self, pooled: Float[Array, "B V D"]) -> Float[Array, "B V P"]:
        """Computes the projections; batch norm is over the batch and both views, as in the paper."""
        return self.projector(pooled)


@dataclasses.dataclass(frozen=True)
class SimCLR(Common):
    """NT-Xent (SimCLR, Eq. 1); see `interface.Objective`. A bank is filled by the online network.

    Attributes:
      heads: the projection head.
    """

    heads: SimCLRHeads
    has_target = False

    def init(self, key: Key[Array, ""], width: int) -> Heads:
        """Returns the parameters of the head; there is no other state."""
        return Heads(*initialise(self.heads, key, jnp.zeros((2, 2, width))), {})

    def loss(self, online: Network, target: Network | None, batch: Batch, extra: Params, schedules: Scheduled) -> Loss:
        """Computes the loss of the whole batch."""
        z, online = online.apply(self.heads, SimCLRHeads.__call__, online.outputs[GLOBAL].pooled)  # [B, 2, P]
        value = nt_xent(z[:, 0], z[:, 1], schedules["temperature"])
        return Loss(value, {"loss_ssl": value, "top1": top1(z[:, 0], z[:, 1])}, online, None, extra)


def build(config: PretrainConfig, replicate: Replicate) -> SimCLR:
    """Builds the objective from `heads` and `dtype` of a config; `contrastive.temperature` is its tau."""
    heads = SimCLRHeads(
        config.heads.hidden_dim, config.heads.output_dim, config.heads.bn_momentum, DTYPES[config.dtype]
    )
    return SimCLR(heads)
