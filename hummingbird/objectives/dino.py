"""DINO (Caron et al. 2021): self-distillation with no labels, with or without context."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Key

from hummingbird.config import PretrainConfig
from hummingbird.config.objectives import Dino as Settings
from hummingbird.data.views import GLOBAL, LOCAL
from hummingbird.models.network import Network, initialise
from hummingbird.models.params import Params, leaf
from hummingbird.models.pretrainer import DTYPES
from hummingbird.models.prototypes import PrototypeHead
from hummingbird.objectives.distillation import across_views, centred, entropy, moved_centre, sinkhorn
from hummingbird.objectives.interface import (
    Batch,
    Common,
    Heads,
    ImageKeys,
    Loss,
    PerImage,
    Replicate,
    Scheduled,
    Views,
)


class DinoHeads(nn.Module):
    """The head of both networks.

    Attributes:
      head: MLP and prototypes.
    """

    head: PrototypeHead

    def __call__(self, pooled: Float[Array, "*batch D"], trained: ArrayLike = 1.0) -> Float[Array, "*batch K"]:
        """Returns the logits over prototypes; with `trained` 0 the prototypes get no gradient."""
        return self.head(pooled, trained)


@dataclasses.dataclass(frozen=True)
class DINO(Common):
    """The student predicts, from each view, the teacher's distribution for the other global views.

    See `interface.Objective`. Its own state is {"centre": c}, [K].

    Attributes:
      heads: the head.
      settings: temperatures of the student, centring.
    """

    heads: DinoHeads
    settings: Settings

    def init(self, key: Key[Array, ""], width: int) -> Heads:
        """Returns the parameters of the head, and a centre of 0."""
        params, stats = initialise(self.heads, key, jnp.zeros((2, width)))
        return Heads(params, stats, {"centre": jnp.zeros(self.settings.prototypes)})

    def per_image(
        self, online: Network, target: Network | None, views: Views, rngs: ImageKeys
    ) -> tuple[PerImage, PerImage]:
        """Encodes all views by the student and the global ones by the teacher."""
        assert target is not None
        students = {name: online.encode_views(x, group=i) for i, (name, x) in enumerate(views.items())}
        return students, {GLOBAL: target.encode_views(views[GLOBAL])}

    def loss(self, online: Network, target: Network | None, batch: Batch, extra: Params, schedules: Scheduled) -> Loss:
        """Computes the loss of the whole batch (Eq. 3) and moves the centre (Eq. 4)."""
        assert target is not None
        trained, tau = schedules["prototypes"], schedules["teacher_temperature"]
        student, online = online.apply(self.heads, DinoHeads.__call__, every_view(online), trained)  # [B, V, K]
        teacher, target = target.apply(self.heads, DinoHeads.__call__, target.outputs[GLOBAL].pooled)  # [B, 2, K]
        centre = leaf(extra, "centre")
        probabilities = teacher_probabilities(self.settings, teacher, centre, tau)
        loss = across_views(probabilities, student, self.settings.student_temperature)
        metrics = {"loss_ssl": loss, "teacher_entropy": entropy(probabilities)}
        centre = moved_centre(centre, teacher, self.settings.centre_momentum)
        return Loss(loss, metrics, online, target, {"centre": centre})


def every_view(network: Network) -> Float[Array, "B V D"]:
    """Returns the pooled outputs of the global views, and after them of the local ones if there are any."""
    return jnp.concatenate([network.outputs[name].pooled for name in (GLOBAL, LOCAL) if name in network.outputs], 1)


def teacher_probabilities(
    settings: Settings, logits: Float[Array, "B V K"], centre: Float[Array, " K"], tau: ArrayLike
) -> Float[Array, "B V K"]:
    """Returns the teacher's distributions, by its centre or by Sinkhorn-Knopp over images and views together."""
    if settings.centring == "centre":
        return centred(logits, centre, tau)
    return sinkhorn(logits.reshape(-1, logits.shape[-1]), tau).reshape(logits.shape)


def build_head(config: PretrainConfig) -> PrototypeHead:
    """Builds a head from `dino` and `dtype` of a config."""
    settings = config.dino
    return PrototypeHead(settings.hidden_dim, settings.bottleneck_dim, settings.prototypes, DTYPES[config.dtype])


def build(config: PretrainConfig, replicate: Replicate) -> DINO:
    """Builds the objective from `dino` and `dtype` of a config."""
    return DINO(DinoHeads(build_head(config)), config.dino)
