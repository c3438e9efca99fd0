"""Programs of the gradient features of patches: every token's own term of the gradient of its image's loss."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Key

from hummingbird.config.features import Features
from hummingbird.gradients import losses
from hummingbird.gradients.heads import named_key
from hummingbird.gradients.projection import find_projection
from hummingbird.gradients.spread import map_images
from hummingbird.gradients.tail import run_body, select, take_gradients
from hummingbird.models.backbone import Backbone, LastBlock
from hummingbird.models.params import Params, leaf, subtree


class Choices(NamedTuple):
    """What the features depend on besides arrays.

    Attributes:
      settings: objectives and projection.
      seed: draws the projection.
      denominator: temperature of the log-sum-exp; None: there is none.
    """

    settings: Features
    seed: int
    denominator: float | None


def on_cpu() -> bool:
    """Returns whether images are worth computing one after the other."""
    return jax.default_backend() == "cpu"


def run_tokens(
    backbone: Backbone, wanted: bool, tree: Params, images: Array
) -> tuple[Float[Array, "B T D"], Float[Array, "B T D"], Float[Array, "B T d"]]:
    """Runs the network.

    Args:
      backbone: a ViT.
      wanted: whether the final tokens are.
      tree: parameters of the encoder.
      images: uint8.

    Returns:
      Input and attention of the last block, and the final tokens; [CLS] first, if there is one, without registers.
    """

    def run(images: Array) -> tuple[Array, Array, Array]:
        params = subtree(tree, "encoder")
        last = select(backbone, run_body(backbone, params, images), "all")
        with jax.default_matmul_precision("highest"):
            tokens = backbone.tail(params, last, None) if wanted else last.residual[..., :0]
        return last.residual, last.attended, tokens

    residual, attended, tokens = map_images(run, on_cpu(), images)
    return residual, attended, tokens


def run_features(
    backbone: Backbone,
    choices: Choices,
    tree: Params,
    residual: Float[Array, "B T D"],
    attended: Float[Array, "B T D"],
    negatives: Float[Array, "B N E"],
    kept: Bool[Array, "B N"],
) -> tuple[Float[Array, "B P F"]]:
    """Returns the features of all patches: gradient parts, then the token, each L2-normalised.

    Args:
      backbone: a ViT.
      choices: objectives and projection.
      tree: parameters of the encoder and of the heads.
      residual, attended: from `run_tokens`.
      negatives: plain features of neighbours.
      kept: which of them count.
    """
    settings, width = choices.settings, residual.shape[-1]
    dim, key = settings.dim or width, named_key(choices.seed, "gradients projection")
    inside = settings.projection != "dense"  # dense draws its signs once for a batch

    def run(*rows: Array) -> tuple[Array, ...]:
        deltas, inputs, tokens = outer_products(backbone, choices, tree, *rows)
        inputs = losses.unit(inputs)
        if settings.projection == "none":
            return (jnp.concatenate([tokens, inputs, *deltas], axis=-1),)
        return (
            (*(project(x, inputs, settings, dim, key) for x in deltas), tokens) if inside else (*deltas, inputs, tokens)
        )

    with jax.default_matmul_precision("highest"):
        found = map_images(run, on_cpu(), residual, attended, negatives, kept)
        if inside:
            return (jnp.concatenate(found, axis=-1),)
        *deltas, inputs, tokens = found
        return (jnp.concatenate([*(project(x, inputs, settings, dim, key) for x in deltas), tokens], axis=-1),)


def outer_products(
    backbone: Backbone,
    choices: Choices,
    tree: Params,
    residual: Float[Array, "B T D"],
    attended: Float[Array, "B T D"],
    negatives: Float[Array, "B N E"],
    kept: Bool[Array, "B N"],
) -> tuple[list[Float[Array, "B P D"]], Float[Array, "B P F"], Float[Array, "B P D"]]:
    """Returns the unit delta of each objective, the inputs [a; 1], and the unit tokens, of patches alone."""
    params, last = subtree(tree, "encoder"), LastBlock(residual, attended)
    first = int(backbone.has_cls)  # [CLS] takes part in the loss and has no features
    deltas, inputs, tokens = [], attended, residual
    for name in choices.settings.gradients:
        of_image = functools.partial(LOSSES[name], tree, choices.denominator)
        # Images do not share terms, so the sum of their losses has the gradients of each.
        found = take_gradients(
            backbone, params, last, lambda tokens, f=of_image: jnp.sum(jax.vmap(f)(tokens, negatives, kept))
        )
        deltas.append(losses.unit(found.delta[:, first:]))
        inputs, tokens = found.inputs, found.tokens
    return deltas, inputs[:, first:], losses.unit(tokens[:, first:])


def kl_loss(tree: Params, denominator: float | None, tokens: Array, negatives: Array, kept: Array) -> Float[Array, ""]:
    """Sums the KL divergence over the tokens of an image."""
    return jnp.sum(losses.kl_to_uniform(apply_head(tree, "kl", losses.unit(tokens))))


def simclr_loss(
    tree: Params, denominator: float | None, tokens: Array, negatives: Array, kept: Array
) -> Float[Array, ""]:
    """Contrasts the tokens of an image with each other against neighbours of the prompt."""
    outputs = apply_head(tree, "simclr", tokens)
    if denominator is None:
        return losses.attraction(outputs)
    return losses.info_nce(outputs, apply_head(tree, "simclr", negatives), denominator=denominator, kept=kept)


LOSSES = {"kl": kl_loss, "simclr": simclr_loss}


def apply_head(tree: Params, name: str, rows: Float[Array, "n D"]) -> Float[Array, "n K"]:
    """Applies a head of the tree."""
    return rows @ leaf(tree, "heads", name, "kernel") + leaf(tree, "heads", name, "bias")


def project(
    delta: Float[Array, "B P D"], inputs: Float[Array, "B P E"], settings: Features, dim: int, key: Key[Array, ""]
) -> Float[Array, "B P d"]:
    """Returns unit projections of the outer products of unit rows."""
    rows = (delta.reshape(-1, delta.shape[-1]), inputs.reshape(-1, inputs.shape[-1]))
    found = find_projection(settings.projection)(*rows, dim, key, settings.rank)
    return losses.unit(found.reshape(*delta.shape[:2], dim))
