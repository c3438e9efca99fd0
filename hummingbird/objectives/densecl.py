"""DenseCL (Wang et al. 2021): contrastive learning of whole images and of places in them, against two queues.

The first view is the query, the second one, by the target network, the key. As in the paper, places of the two views
are matched by the encoder's features, not by where they lie in the image. With a bank, context enters the whole image's
vector only; places keep the encoder's own features.
"""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Key

from hummingbird.config import PretrainConfig
from hummingbird.config.objectives import DenseCL as Settings
from hummingbird.data.views import GLOBAL
from hummingbird.errors import UserError
from hummingbird.models.architecture import build_architecture
from hummingbird.models.context import l2_normalize
from hummingbird.models.heads import PlainHead
from hummingbird.models.network import Network, initialise
from hummingbird.models.params import AnyArray, Params
from hummingbird.models.pretrainer import DTYPES, ViewOutputs
from hummingbird.objectives.contrastive import top1
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


class DenseCLHeads(nn.Module):
    """The global and the dense projection head (DenseCL, Sec. 3.2); the dense one is applied to each place.

    Attributes:
      projector, dense_projector: the heads.
    """

    projector: nn.Module
    dense_projector: nn.Module

    def __call__(
        self, pooled: Float[Array, "B D"], places: Float[Array, "B S D"]
    ) -> tuple[Float[Array, "B P"], Float[Array, "B S P"]]:
        """Computes both projections, of norm 1."""
        return l2_normalize(self.projector(pooled)), l2_normalize(self.dense_projector(places))


@dataclasses.dataclass(frozen=True)
class DenseCL(Common):
    """(1 - lambda) L_q + lambda L_r (DenseCL, Eq. 3); see `interface.Objective`.

    Attributes:
      heads: global and dense projector.
      settings: lambda, length of the queues, places along a side.
      output: P, width of the projections.
    """

    heads: DenseCLHeads
    settings: Settings
    output: int

    def init(self, key: Key[Array, ""], width: int) -> Heads:
        """Returns the parameters of the heads, and two queues of random keys."""
        params, stats = initialise(self.heads, key, jnp.zeros((2, width)), jnp.zeros((2, 1, width)))
        queues = jax.random.normal(jax.random.fold_in(key, 1), (2, self.settings.queue_length, self.output))
        queue, dense_queue = l2_normalize(queues)
        return Heads(params, stats, {"queue": queue, "dense_queue": dense_queue, "cursor": jnp.zeros((), jnp.int32)})

    def per_image(
        self, online: Network, target: Network | None, views: Views, rngs: ImageKeys
    ) -> tuple[PerImage, PerImage]:
        """Encodes the first view with the online network, and the second one with the target network."""
        assert target is not None
        outputs = online.encode_views(views[GLOBAL][:, :1], tokens=True)
        targets = target.encode_views(views[GLOBAL][:, 1:], tokens=True)
        return {GLOBAL: self.placed(outputs)}, {GLOBAL: self.placed(targets)}

    def placed(self, outputs: ViewOutputs) -> ViewOutputs:
        """Averages the tokens to a grid of places, `tokens` [B, 1, S, D]: adaptive average pooling, as in the paper."""
        assert outputs.tokens is not None
        return outputs._replace(tokens=average_grid(outputs.tokens, self.settings.grid))

    def loss(self, online: Network, target: Network | None, batch: Batch, extra: Params, schedules: Scheduled) -> Loss:
        """Computes the loss of the whole batch; then the keys enter the queues."""
        assert target is not None
        here, there = online.outputs[GLOBAL], target.outputs[GLOBAL]
        assert here.tokens is not None
        assert there.tokens is not None
        places, other_places = here.tokens[:, 0], there.tokens[:, 0]  # [B, S, D]
        (q, r), online = online.apply(self.heads, DenseCLHeads.__call__, here.pooled[:, 0], places)
        (k, t), target = target.apply(self.heads, DenseCLHeads.__call__, there.pooled[:, 0], other_places)
        tau, queues = schedules["temperature"], cast(Mapping[str, Array], extra)
        whole = queue_nce(q, k, queues["queue"], tau)
        dense = dense_nce(r, matched(places, other_places, t), queues["dense_queue"], tau)
        value = (1 - self.settings.weight) * whole + self.settings.weight * dense
        metrics = {"loss_ssl": value, "loss_global": whole, "loss_dense": dense, "top1": top1(q, k)}
        cursor = queues["cursor"]
        changed = {
            "queue": enqueue(queues["queue"], k, cursor),
            "dense_queue": enqueue(queues["dense_queue"], l2_normalize(t.mean(axis=1)), cursor),
            "cursor": (cursor + len(k)) % self.settings.queue_length,
        }
        return Loss(value, metrics, online, target, changed)


def average_grid(tokens: Float[AnyArray, "B V N D"], side: int) -> Float[Array, "B V S D"]:
    """Averages a square grid of N tokens to side x side places, S = side^2.

    Example:
      >>> average_grid(jnp.arange(16.0).reshape(1, 1, 16, 1), 2)[0, 0, :, 0]
      Array([ 2.5,  4.5, 10.5, 12.5], dtype=float32)
    """
    batch, views, count, width = tokens.shape
    cell = round(count**0.5) // side
    cells = jnp.asarray(tokens).reshape(batch, views, side, cell, side, cell, width)
    return cells.mean(axis=(3, 5)).reshape(batch, views, side * side, width)


def matched(
    places: Float[AnyArray, "B S D"], other_places: Float[AnyArray, "B S D"], values: Float[AnyArray, "B S P"]
) -> Float[Array, "B S P"]:
    """Returns, for each place, the value at the most similar place of the other view (Eq. 4 of DenseCL).

    Args:
      places: encoder features of this view.
      other_places: encoder features of the other view.
      values: one for each place of the other view.
    """
    similarity = jnp.einsum("bsd,btd->bst", l2_normalize(places), l2_normalize(other_places), precision="highest")
    # A product instead of a gather, for which devices would fetch one another's rows.
    chosen = jax.nn.one_hot(jnp.argmax(similarity, axis=-1), similarity.shape[-1])
    return jnp.einsum("bst,btp->bsp", chosen, values, precision="highest")


def queue_nce(
    query: Float[AnyArray, "B P"], positive: Float[AnyArray, "B P"], queue: Float[AnyArray, "K P"], tau: ArrayLike
) -> Float[Array, ""]:
    """Computes InfoNCE with negatives from a queue (Eq. 1 of DenseCL, that of MoCo), the mean over the batch.

    Args:
      query: unit rows.
      positive: unit rows, without gradient.
      queue: unit rows, without gradient.
      tau: temperature, > 0.

    Example:
      >>> round(float(queue_nce(jnp.eye(2), jnp.eye(2), jnp.eye(2)[:1], tau=0.5)), 4)
      0.41
    """
    positive, queue = jax.lax.stop_gradient((positive, queue))
    own = jnp.sum(query * positive, axis=-1) / tau
    negatives = jnp.matmul(query, queue.T, precision=jax.lax.Precision.HIGHEST) / tau
    return jnp.mean(jnp.logaddexp(own, jax.nn.logsumexp(negatives, axis=-1)) - own)


def dense_nce(
    query: Float[AnyArray, "B S P"], positive: Float[AnyArray, "B S P"], queue: Float[AnyArray, "K P"], tau: ArrayLike
) -> Float[Array, ""]:
    """Computes L_r (Eq. 2 of DenseCL): `queue_nce` of each place, the mean over places and images.

    Places pass one after the other and are computed again in the backward pass: memory is O(B K), not O(B S K).
    """

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def one(place: tuple[Array, Array]) -> Array:
        return queue_nce(*place, queue, tau)

    return jnp.mean(jax.lax.map(one, (query.swapaxes(0, 1), positive.swapaxes(0, 1))))


def enqueue(queue: Float[Array, "K P"], keys: Float[Array, "B P"], cursor: Array) -> Float[Array, "K P"]:
    """Overwrites the oldest B keys of a queue, which start at `cursor`; B divides K."""
    return jax.lax.dynamic_update_slice(queue, jax.lax.stop_gradient(keys), (cursor, 0))


def build(config: PretrainConfig, replicate: Replicate) -> DenseCL:
    """Builds the objective from `densecl`, `heads` and `dtype` of a config; `contrastive.temperature` is its tau.

    Raises:
      UserError: a queue that is no multiple of the batch, or a grid that does not divide the tokens.
    """
    settings, batch = config.densecl, config.batch_size
    if settings.queue_length % batch:
        raise UserError(
            f"config key densecl.queue_length: {settings.queue_length} is not a multiple of batch_size {batch}, which "
            "it has to be so that it divides over devices and steps"
        )
    side = config.input_size // build_architecture(dataclasses.asdict(config.encoder), config.input_size).patch_size
    if side % settings.grid:
        raise UserError(
            f"config key densecl.grid: {settings.grid} does not divide the {side} patches along a side of a view"
        )
    heads = config.heads
    projector, dense_projector = (PlainHead(heads.hidden_dim, heads.output_dim, DTYPES[config.dtype]) for _ in range(2))
    return DenseCL(DenseCLHeads(projector, dense_projector), settings, heads.output_dim)
