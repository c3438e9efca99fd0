"""LOCA (Caron et al. 2022): patches of query crops predict where they lie in a reference view, and their cluster there.

Queries are cut on the device from a second picture of the reference's own crop, with colours drawn independently: every
patch of a query lies in the reference, and its place is exact. In the paper queries overlap the reference in part.
"""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Bool, Float, Int, Key

from hummingbird.config import PretrainConfig
from hummingbird.config.objectives import Loca as Settings
from hummingbird.data.views import GLOBAL
from hummingbird.errors import UserError
from hummingbird.models.architecture import build_architecture
from hummingbird.models.cross_attention import CrossBlock
from hummingbird.models.network import Network, initialise
from hummingbird.models.params import AnyArray, Params
from hummingbird.models.pretrainer import DTYPES
from hummingbird.models.prototypes import PrototypeHead
from hummingbird.objectives.dino import build_head
from hummingbird.objectives.distillation import cross_entropy, entropy, sinkhorn
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
from hummingbird.objectives.masking import count_masked, is_kept, kept_patches, per_view
from hummingbird.objectives.queries import cut, places, sample_boxes

QUERIES = "queries"  # the name of their outputs


class LocaHeads(nn.Module):
    """Heads for places and for clusters.

    Attributes:
      attention_heads: of the block in which queries attend to the reference.
      places: N, patches of the reference.
      head: for clusters; the target network's gives their targets.
      dtype: compute type.
    """

    attention_heads: int
    places: int
    head: PrototypeHead
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.locate_block = CrossBlock(self.attention_heads, self.dtype)
        self.place = nn.Dense(self.places, dtype=self.dtype, kernel_init=nn.initializers.normal(0.02))

    def __call__(
        self, queries: Float[Array, "B Q n D"], reference: Float[Array, "B N D"], visible: Bool[Array, "B Q N"]
    ) -> Float[Array, "B Q n N"]:
        """Runs every head, for initialisation; returns the logits of places."""
        self.clusters(queries)
        return self.locate(queries, reference, visible)

    def locate(
        self, queries: Float[Array, "B Q n D"], reference: Float[Array, "B N D"], visible: Bool[Array, "B Q N"]
    ) -> Float[Array, "B Q n N"]:
        """Returns logits over the places in the reference, float32 (Sec. 3.1)."""
        return self.place(self.locate_block(queries, reference, visible)).astype(jnp.float32)

    def clusters(self, tokens: Float[Array, "*batch D"]) -> Float[Array, "*batch K"]:
        """Returns logits over clusters, float32 (Sec. 3.2)."""
        return self.head(tokens)


@dataclasses.dataclass(frozen=True)
class LOCA(Common):
    """Cross-entropy of places plus cluster_weight times that of clusters; see `interface.Objective`. No bank.

    Attributes:
      heads: for places and clusters.
      settings: of the queries, and the weight of clusters.
      patch: patch size, pixels.
      rows: patches along a side of the reference.
      visible: patches of the reference that a query sees.
    """

    heads: LocaHeads
    settings: Settings
    patch: int
    rows: int
    visible: int
    online_only = ("locate_block", "place")

    def init(self, key: Key[Array, ""], width: int) -> Heads:
        """Returns the parameters of the heads; there is no other state."""
        seen = jnp.ones((1, 1, self.rows**2), bool)
        example = jnp.zeros((1, 1, 1, width)), jnp.zeros((1, self.rows**2, width)), seen
        return Heads(*initialise(self.heads, key, *example), {})

    def per_image(
        self, online: Network, target: Network | None, views: Views, rngs: ImageKeys
    ) -> tuple[PerImage, PerImage]:
        """Cuts queries, encodes them and the reference, and lets them find their places; `own` has that loss."""
        assert target is not None
        reference, second = views[GLOBAL][:, :1], views[GLOBAL][:, 1]
        settings, count = self.settings, self.rows**2
        keys = per_view(rngs, 2 * settings.queries)
        boxes = sample_boxes(keys[:, : settings.queries], second.shape[1], settings.query_area)
        queries = online.encode_views(cut(second, boxes, settings.query_size), tokens=True, group=1)
        outputs, targets = online.encode_views(reference, tokens=True), target.encode_views(reference, tokens=True)
        assert queries.tokens is not None
        assert outputs.tokens is not None
        visible = is_kept(kept_patches(keys[:, settings.queries :], count, self.visible), count)
        logits, _ = online.apply(self.heads, LocaHeads.locate, queries.tokens, outputs.tokens[:, 0], visible)
        place = places(boxes, settings.query_size // self.patch, self.patch, self.rows)
        losses, found = place_loss(logits, place)
        own = {"places": place, "loss": losses, "found": found}
        return {GLOBAL: outputs._replace(tokens=None), QUERIES: queries._replace(own=own)}, {GLOBAL: targets}

    def loss(self, online: Network, target: Network | None, batch: Batch, extra: Params, schedules: Scheduled) -> Loss:
        """Computes the loss of the whole batch."""
        assert target is not None
        queries, reference = online.outputs[QUERIES], target.outputs[GLOBAL].tokens
        assert queries.tokens is not None
        assert queries.own is not None
        assert reference is not None
        own, settings = queries.own, self.settings
        position = jnp.mean(own["loss"])
        student, online = online.apply(self.heads, LocaHeads.clusters, queries.tokens)  # [B, Q, n, K]
        teacher, target = target.apply(self.heads, LocaHeads.clusters, reference[:, 0])  # [B, N, K]
        assigned = sinkhorn(teacher.reshape(-1, teacher.shape[-1]), settings.teacher_temperature)
        cluster = cluster_loss(assigned.reshape(teacher.shape), student, own["places"], settings.student_temperature)
        metrics = {"loss_places": position, "places_found": jnp.mean(own["found"]), "loss_clusters": cluster}
        metrics["teacher_entropy"] = entropy(assigned)
        return Loss(position + settings.cluster_weight * cluster, metrics, online, target, extra)


def place_loss(
    logits: Float[AnyArray, "B Q n N"], place: Int[AnyArray, "B Q n"]
) -> tuple[Float[Array, " B"], Float[Array, " B"]]:
    """Computes the cross-entropy of places (Eq. 1), and the share of places found, of each image."""
    own = jax.nn.one_hot(place, logits.shape[-1])
    losses = cross_entropy(own, logits, 1.0)
    found = (jnp.argmax(logits, axis=-1) == place).astype(jnp.float32)
    return losses.mean(axis=(1, 2)), found.mean(axis=(1, 2))


def cluster_loss(
    assigned: Float[AnyArray, "B N K"],
    student: Float[AnyArray, "B Q n K"],
    place: Int[AnyArray, "B Q n"],
    tau: float,
) -> Float[Array, ""]:
    """Computes the cross-entropy between query patches and the clusters of reference patches at the same places.

    Args:
      assigned: clusters of the reference's patches.
      student: logits of the queries' patches.
      place: numbers of the reference's patches.
      tau: temperature of the student.
    """
    chosen = jax.nn.one_hot(place, assigned.shape[1])
    wanted = jnp.einsum("bqnm,bmk->bqnk", chosen, assigned, precision=jax.lax.Precision.HIGHEST)
    return jnp.mean(cross_entropy(wanted, student, tau))


def build(config: PretrainConfig, replicate: Replicate) -> LOCA:
    """Builds the objective from `loca`, the head's widths in `dino`, `encoder`, `input_size` and `dtype` of a config.

    Raises:
      UserError: queries that the patches do not divide, a mask ratio that leaves no patch, or views of two crops or
        with flips, in which the places of queries are unknown.
    """
    settings, augment = config.loca, config.augment
    arch = build_architecture(dataclasses.asdict(config.encoder), config.input_size)
    if not augment.same_crop:
        raise UserError("config key augment.same_crop: objective.name=loca cuts its queries from one crop; use true")
    if augment.flip_probability:
        raise UserError("config key augment.flip_probability: objective.name=loca does not follow flips; use 0")
    if settings.query_size % arch.patch_size:
        raise UserError(
            f"config key loca.query_size: {settings.query_size} is not a multiple of the patch size {arch.patch_size}"
        )
    low, high = settings.query_area
    if low > high:
        raise UserError(f"config key loca.query_area: {low} is above {high}, expected the lower number first")
    rows = config.input_size // arch.patch_size
    masked = count_masked("loca.mask_ratio", settings.mask_ratio, (rows, rows))
    dtype = DTYPES[config.dtype]
    head = dataclasses.replace(build_head(config), prototypes=settings.prototypes)
    return LOCA(LocaHeads(arch.heads, rows**2, head, dtype), settings, arch.patch_size, rows, rows**2 - masked)
