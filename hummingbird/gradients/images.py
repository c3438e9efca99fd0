"""Gradient features of whole images: `hb.gradients.features` (Sec. 3 and Eq. 2 of the FUNGI paper)."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Float32, Int64, UInt8

from hummingbird.config.features import Variant
from hummingbird.encoder import Encoder
from hummingbird.errors import UserError
from hummingbird.gradients import losses
from hummingbird.gradients.door import with_layer
from hummingbird.gradients.heads import named_key
from hummingbird.gradients.image_losses import DEFAULT, LOSSES, build_heads, outputs
from hummingbird.gradients.projection import find_sums
from hummingbird.gradients.spread import Call, map_images, spread_for
from hummingbird.gradients.tail import check_encoder, run_body, select, take_gradients
from hummingbird.gradients.views import VIEWS, Picture, image_ids, simclr_views, view_of
from hummingbird.models.backbone import Backbone
from hummingbird.models.frozen import FrozenEncoder
from hummingbird.models.frozen_vit import FrozenViT
from hummingbird.models.params import Params, subtree

IMAGES_AT_A_TIME = 16
BATCHES = {"kl": IMAGES_AT_A_TIME, "dino": 4, "simclr": 2}  # images whose views are in memory at a time


@dataclasses.dataclass(frozen=True)
class Negatives:
    """What SimCLR's views are contrasted with: the views of images that were drawn once for a data set.

    Attributes:
      outputs: of the head, for the views of all images [N, 96].
      ids: of the image that each view belongs to.
      exclude_self: leave out the views of an image that is among them itself.
    """

    outputs: Float32[np.ndarray, "N K"]
    ids: Int64[np.ndarray, " N"]
    exclude_self: bool = True


def features(
    encoder: Encoder,
    images: UInt8[np.ndarray, "B H W 3"] | Sequence[Picture],
    objectives: Sequence[str] = ("kl",),
    *,
    projection: str = "dense",
    rank: int = 8,
    dim: int | None = None,
    seed: int = 0,
    whole: Sequence[Picture] | None = None,
    negatives: Negatives | None = None,
    ids: Sequence[int] | None = None,
    pooling: str = "cls",
    size: int = 224,
    variant: Variant = DEFAULT,
) -> Float32[np.ndarray, "B F"]:
    """Computes features from gradients of a frozen encoder, beside its own embedding.

    Features of an image do not depend on the batch that it is in, on its place there or on the number of devices.

    Args:
      encoder: a ViT.
      images: of one size, a multiple of the patch size, prepared as the encoder's own test images are.
      objectives: some of "kl", "dino" and "simclr", in the order in which their parts are wanted.
      projection: "dense" (matrices of signs, Eq. 1) or "tensor" (sums of `rank` rank-ones: 50 times cheaper, noisier);
        "none": no projection but the two factors, for one view and a pooling of one token.
      rank: of "tensor".
      dim: d, outputs of the projection; None: D, the encoder's width.
      seed: draws heads, projection and crops.
      whole: the images as they were before they were prepared, for the crops of "dino" and "simclr"; None: `images`.
      negatives: from `fit_negatives`, for "simclr".
      ids: numbers of the images, by which their random crops are drawn; None: checksums of their pixels.
      pooling: what the embedding is, "cls" or "mean" (of the patches); the mean where there is no [CLS] token.
      size: side of the crops, pixels.
      variant: heads, augmentation and layer, as the paper varies them.

    Returns:
      For each image, the L2-normalised projected gradients, one part an objective, then the L2-normalised embedding:
      [B, L d + D]. With projection="none": delta and [a; 1], both normalised, then the embedding; the product of the
      cosines of the first two is the cosine of two gradients.

    Raises:
      UserError: an encoder without gradients, an unknown objective, or SimCLR without negatives.

    Example:
      >>> from hummingbird.encoder import load_encoder
      >>> images = np.zeros((2, 32, 32, 3), np.uint8)
      >>> features(load_encoder("random:vit_ti16"), images, projection="tensor").shape
      (2, 384)
    """
    frozen = check_encoder(encoder)
    check_objectives(objectives, VIEWS)
    if "simclr" in objectives and negatives is None:
        raise UserError("gradients: simclr contrasts an image with others: pass negatives=hb.gradients.fit_negatives()")
    pictures = list(images)
    uncut = pictures if whole is None else list(whole)
    numbers = image_ids(uncut, ids)
    check_variant(variant, frozen, projection)
    job = Job(frozen, projection, rank, dim or frozen.dim, seed, pooling, negatives, variant)
    parts: dict[str, np.ndarray] = {}
    embedding: list[np.ndarray] = []
    for name in dict.fromkeys((*(() if variant.alone else ("kl",)), *objectives)):
        shown = pictures if name == "kl" else uncut
        cut = (view_of(name, variant, image, size, seed, i) for image, i in zip(shown, numbers, strict=True))
        parts[name], found = run_views(job, name, cut, numbers)
        if name == "kl" and not variant.alone:  # that of KL also gives the embedding, at next to no cost
            embedding = [found]
    return np.concatenate([*(parts[name] for name in objectives), *embedding], axis=1)


def fit_negatives(
    encoder: Encoder,
    images: Sequence[Picture],
    *,
    seed: int = 0,
    count: int = 256,
    ids: Sequence[int] | None = None,
    pooling: str = "cls",
    size: int = 224,
    exclude_self: bool = True,
    variant: Variant = DEFAULT,
) -> Negatives:
    """Draws the negatives of SimCLR for a data set: the 49 views of each of 256 training images (Table 17).

    Args:
      encoder: a ViT.
      images: of the training set.
      seed: draws the images, and the head.
      count: images to draw; all, if there are fewer.
      ids: of the images, as `features` gets them.
      pooling, size: as in `features`.
      exclude_self: the views of an image are not its own negatives; the public code does not take care of that.
      variant: as in `features`.
    """
    frozen = check_encoder(encoder)
    numbers = image_ids(images, ids)
    # By id, so that the order of the images does not matter.
    order = np.argsort(numbers, kind="stable")
    drawn = np.random.default_rng([seed, len(order)]).permutation(order)[:count]
    tree: Params = {"heads": {name: x._asdict() for name, x in build_heads("simclr", seed, frozen.dim).items()}}
    views = (jnp.asarray(embed_views(frozen, simclr_views(images[i], size), pooling)) for i in drawn)
    found = [np.asarray(outputs(tree, variant, "simclr", "simclr", rows)) for rows in views]
    owners = np.repeat(np.asarray(numbers, np.int64)[drawn], [len(x) for x in found])
    return Negatives(np.concatenate(found).astype(np.float32), owners, exclude_self)


def check_objectives(objectives: Sequence[str], known: Collection[str]) -> None:
    """Raises UserError that lists the known objectives if one is not among them, or if there are none."""
    wrong = [name for name in objectives if name not in known]
    if wrong or not objectives:
        raise UserError(f"features.gradients: {wrong[0] if wrong else 'none'!r} is not one of {', '.join(known)}")


def check_variant(variant: Variant, encoder: FrozenEncoder, projection: str) -> None:
    """Raises UserError for a layer that does not exist, or whose gradient is no outer product."""
    if variant.layer is None:
        return
    assert isinstance(encoder.backbone, FrozenViT), "check_encoder refuses others"
    if variant.layer >= encoder.backbone.depth:
        raise UserError(
            f"features.variant.layer: {variant.layer} is not a block; {encoder.name} has {encoder.backbone.depth}"
        )
    if projection == "none":
        raise UserError("features.variant.layer needs features.projection=dense or tensor")


# ---------------------------------------------------------------- programs
@dataclasses.dataclass(frozen=True)
class Job:
    """What the gradients of all objectives have in common; arguments as in `features`."""

    encoder: FrozenEncoder
    projection: str
    rank: int
    dim: int
    seed: int
    pooling: str
    negatives: Negatives | None
    variant: Variant


def run_views(
    job: Job, name: str, views: Iterator[UInt8[np.ndarray, "V S S 3"]], numbers: Sequence[int]
) -> tuple[Float32[np.ndarray, "B F"], Float32[np.ndarray, "B D"]]:
    """Computes the normalised gradients of one objective, and the normalised embeddings of first views."""
    encoder = job.encoder
    size = min(BATCHES[name], 1 << (len(numbers) - 1).bit_length())  # few sizes, so that few programs are compiled
    spread = spread_for(min(size, len(numbers)))
    heads = {head: x._asdict() for head, x in build_heads(name, job.seed, encoder.dim).items()}
    tree: dict[str, Params] = {"encoder": encoder.params, "heads": heads}
    if name == "simclr" and job.negatives is not None:
        tree["negatives"] = {"outputs": job.negatives.outputs}
    placed = spread.place(tree)
    take = outer_products if job.variant.layer is None else layer_gradients
    outer = Call(take, (encoder.backbone, name, job.pooling, job.variant))
    project = Call(projected, (job.projection, job.rank, job.dim, job.seed))
    parts: list[np.ndarray] = []
    embeddings: list[np.ndarray] = []
    for start in range(0, len(numbers), size):
        mine = numbers[start : start + size]
        batch = np.zeros((size, 0), np.uint8)
        for slot in range(len(mine)):
            found = next(views)
            batch = batch if slot else np.zeros((size, *found.shape), np.uint8)
            batch[slot] = found
        kept = spread.split(others(job.negatives if name == "simclr" else None, mine, size))
        embedding, delta, inputs = spread.run(outer, placed, spread.split(batch), kept)
        (part,) = spread.run(project, {}, delta, inputs)
        parts.append(np.asarray(part)[: len(mine)])
        embeddings.append(np.asarray(embedding)[: len(mine)])
    return np.concatenate(parts), np.concatenate(embeddings)


def others(negatives: Negatives | None, numbers: Sequence[int], size: int) -> np.ndarray:
    """Returns, for each image of a batch of `size`, which negatives are not its own views."""
    if negatives is None:
        return np.ones((size, 1), bool)
    kept = np.ones((size, len(negatives.ids)), bool)
    if negatives.exclude_self:
        kept[: len(numbers)] = negatives.ids[None, :] != np.asarray(numbers, np.int64)[:, None]
    return kept


def outer_products(
    backbone: Backbone, name: str, pooling: str, variant: Variant, tree: Params, views: Array, kept: Array
) -> tuple[Array, Array, Array]:
    """Returns normalised embeddings of first views [B, D], and delta [B, V T, D] and inputs [B, V T, E]."""
    # On a CPU, products of one image at a time are as fast, and are rounded alike whatever else is in the batch.
    one_by_one = views.shape[1] > 1 or jax.default_backend() == "cpu"

    def run(views: Array, kept: Array) -> tuple[Array, Array, Array]:
        count, number = views.shape[:2]
        params = subtree(tree, "encoder")
        last = select(backbone, run_body(backbone, params, views.reshape(-1, *views.shape[2:])), pooling)
        embed = functools.partial(pooled_views, count=count)

        def loss(tokens: Float[Array, "n T D"]) -> Float[Array, ""]:
            return jnp.sum(jax.vmap(functools.partial(LOSSES[name], tree, variant))(embed(tokens), kept))

        outer = take_gradients(backbone, params, last, loss)
        embedding = losses.unit(embed(outer.tokens)[:, 0])
        shape = (count, number * last.residual.shape[1], -1)
        return embedding, outer.delta.reshape(shape), outer.inputs.reshape(shape)

    with jax.default_matmul_precision("highest"):
        embedding, delta, inputs = map_images(run, one_by_one, views, kept)
    return embedding, delta, inputs


def layer_gradients(
    backbone: FrozenViT, name: str, pooling: str, variant: Variant, tree: Params, views: Array, kept: Array
) -> tuple[Array, Array, Array]:
    """Returns what `outer_products` does, of an earlier block: by autodiff, each row of the gradient being a term."""
    params, path = subtree(tree, "encoder"), [f"block_{variant.layer:02d}", "attention", "out"]
    layer = {name: jnp.asarray(x) for name, x in subtree(params, *path).items()}

    def run(views: Array, kept: Array) -> tuple[Array, Array, Array]:
        def loss(layer: dict[str, Array]) -> tuple[Float[Array, ""], Float[Array, "V D"]]:
            patches, cls = backbone.features(with_layer(params, path, layer), views[0])
            embedding = patches.mean(axis=(1, 2)) if pooling == "mean" or cls is None else cls
            return LOSSES[name](tree, variant, embedding, kept[0]), embedding

        found, embedding = jax.grad(loss, has_aux=True)(layer)
        rows = jnp.concatenate([found["kernel"], *([found["bias"][None]] if "bias" in found else [])])
        return losses.unit(embedding[:1]), rows[None], jnp.eye(len(rows))[None]

    with jax.default_matmul_precision("highest"):
        embedding, delta, inputs = map_images(run, True, views, kept)
    return embedding, delta, inputs


def pooled_views(tokens: Float[Array, "n T D"], count: int) -> Float[Array, "B V D"]:
    """Returns the mean token of each view of `count` images."""
    return tokens.mean(axis=1).reshape(count, -1, tokens.shape[-1])


def projected(
    projection: str, rank: int, dim: int, seed: int, tree: Params, delta: Array, inputs: Array
) -> tuple[Float[Array, "B F"]]:
    """Returns the normalised projection of each image's gradient, the sum of its outer products."""
    if projection == "none":
        if delta.shape[1] > 1:
            raise UserError("features.projection=none takes gradients of one token: use kl and pooling=cls")
        return (jnp.concatenate([losses.unit(delta[:, 0]), losses.unit(inputs[:, 0])], axis=-1),)
    # The scale of an image's gradient is lost in the end: fractions of its largest term keep every product in range.
    delta = delta / jnp.maximum(jnp.max(jnp.abs(delta), axis=(1, 2), keepdims=True), jnp.finfo(jnp.float32).tiny)
    key = named_key(seed, "gradients projection")
    return (losses.unit(find_sums(projection)(delta, inputs, dim, key, rank)),)


def embed_views(
    encoder: FrozenEncoder, views: UInt8[np.ndarray, "V S S 3"], pooling: str
) -> Float32[np.ndarray, "V D"]:
    """Returns the embeddings of views."""
    spread = spread_for(len(views))
    placed = spread.place({"encoder": encoder.params})
    (found,) = spread.run(Call(embeddings_of, (encoder.backbone, pooling)), placed, spread.split(views))
    return np.asarray(found)[: len(views)]


def embeddings_of(backbone: Backbone, pooling: str, tree: Params, views: Array) -> tuple[Float[Array, "V D"]]:
    """Returns the embedding of each view."""
    params = subtree(tree, "encoder")
    last = select(backbone, run_body(backbone, params, views), pooling)
    with jax.default_matmul_precision("highest"):
        return (backbone.tail(params, last, None).mean(axis=1),)
