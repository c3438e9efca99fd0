"""What BYOL, SimSiam and MoCo v3 share: two views, a projector, a predictor, and targets without gradient."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Key

from hummingbird.data.views import GLOBAL
from hummingbird.models.context import l2_normalize
from hummingbird.models.heads import ProjectorPredictor
from hummingbird.models.network import Network, initialise
from hummingbird.models.params import AnyArray
from hummingbird.objectives.interface import Common, Heads


class Embedded(NamedTuple):
    """What the heads make of a batch.

    Attributes:
      predictions: by the online network.
      targets: projections by the target network, or by the online network if there is none; no gradient.
      online, target: the networks, with updated running statistics.
    """

    predictions: Float[Array, "B 2 P"]
    targets: Float[Array, "B 2 P"]
    online: Network
    target: Network | None


@dataclasses.dataclass(frozen=True)
class Siamese(Common):
    """All of `interface.Objective` but the loss. A bank is filled by the target network, if there is one.

    Attributes:
      heads: projector and predictor.
    """

    heads: ProjectorPredictor
    online_only = ("predictor",)

    def init(self, key: Key[Array, ""], width: int) -> Heads:
        """Returns the parameters of the heads; there is no other state."""
        return Heads(*initialise(self.heads, key, jnp.zeros((2, 2, width))), {})

    def embed(self, online: Network, target: Network | None) -> Embedded:
        """Computes predictions and targets of the whole batch."""
        projections, online = online.apply(self.heads, ProjectorPredictor.project, online.outputs[GLOBAL].pooled)
        predictions, online = online.apply(self.heads, ProjectorPredictor.predict, projections)
        targets = projections
        if target:
            targets, target = target.apply(self.heads, ProjectorPredictor.project, target.outputs[GLOBAL].pooled)
        return Embedded(predictions, jax.lax.stop_gradient(targets), online, target)


def cosine(prediction: Float[AnyArray, "B P"], target: Float[AnyArray, "B P"]) -> Float[Array, " B"]:
    """Returns the cosine similarity of each prediction to its target, float32; the target has no gradient."""
    return jnp.sum(l2_normalize(prediction) * l2_normalize(jax.lax.stop_gradient(target)), axis=-1)
