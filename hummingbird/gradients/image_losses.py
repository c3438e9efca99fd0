"""The objectives of whole images: which heads they have, and their losses of an image's embeddings."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from hummingbird.config.features import Variant
from hummingbird.gradients import losses
from hummingbird.gradients.heads import Head, build_head
from hummingbird.models.params import Params, leaf

HEADS = {"kl": ("kl",), "dino": ("student", "teacher"), "simclr": ("simclr",)}
DIMS = {"kl": losses.KL_DIM, "student": losses.DINO_DIM, "teacher": losses.DINO_DIM, "simclr": losses.SIMCLR_DIM}
DEFAULT = Variant()


def build_heads(name: str, seed: int, width: int) -> dict[str, Head]:
    """Returns the heads of an objective."""
    return {head: build_head(head, seed, width, DIMS[head]) for head in HEADS[name]}


def outputs(
    tree: Params, variant: Variant, objective: str, head: str, rows: Float[Array, "n D"]
) -> Float[Array, "n K"]:
    """Returns what a loss takes of embeddings: of the head, which KL and DINO give normalised features (Sec. 3)."""
    normalise = {"auto": objective != "simclr", "yes": True, "no": False}[variant.unit]
    rows = losses.unit(rows) if normalise else rows
    if variant.head == "none":
        return rows
    return rows @ leaf(tree, "heads", head, "kernel") + leaf(tree, "heads", head, "bias")


def kl_loss(
    tree: Params, variant: Variant, embedding: Float[Array, "V D"], kept: Bool[Array, " N"]
) -> Float[Array, ""]:
    """Sums the objective over views."""
    return jnp.sum(losses.kl_to_uniform(outputs(tree, variant, "kl", "kl", embedding)))


def dino_loss(
    tree: Params, variant: Variant, embedding: Float[Array, "V D"], kept: Bool[Array, " N"]
) -> Float[Array, ""]:
    """Sums over pairs of views; both heads are on one backbone."""
    teacher = outputs(tree, variant, "dino", "student" if variant.shared_heads else "teacher", embedding[:2])
    return losses.dino(teacher, outputs(tree, variant, "dino", "student", embedding))


def simclr_loss(
    tree: Params, variant: Variant, embedding: Float[Array, "V D"], kept: Bool[Array, " N"]
) -> Float[Array, ""]:
    """Contrasts the views with the negatives."""
    found = outputs(tree, variant, "simclr", "simclr", embedding)
    return losses.info_nce(found, leaf(tree, "negatives", "outputs"), kept=kept)


Loss = Callable[[Params, Variant, Float[Array, "V D"], Bool[Array, " N"]], Float[Array, ""]]
LOSSES: dict[str, Loss] = {"kl": kl_loss, "dino": dino_loss, "simclr": simclr_loss}
