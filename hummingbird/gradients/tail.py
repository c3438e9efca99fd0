"""Gradients of an objective at the last attention's output projection, one outer product for each token.

After the projection P = a W + b no token depends on another one, so one vector-Jacobian product of the network's tail
gives delta = dL / dP, and token t contributes a_t delta_t^T to the gradient of W and delta_t to that of b. No other
layer is differentiated, no hook is needed, and no matrix of the size of W is formed for any token.
"""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from hummingbird.encoder import Encoder
from hummingbird.errors import UserError
from hummingbird.models.backbone import Backbone, Images, LastBlock
from hummingbird.models.frozen import FrozenEncoder, precision
from hummingbird.models.frozen_vit import FrozenViT
from hummingbird.models.params import Params

WORKS = "a ViT: a training workdir, a weights file of a ViT, or random:vit_s16"


class Outer(NamedTuple):
    """Gradients of the projection's kernel and bias as outer products.

    Token t of image b contributes outer([a; 1], delta).

    Attributes:
      delta: dL / dP.
      inputs: [a; 1], or a where the projection has no bias.
      tokens: after the tail, where the loss was taken.
    """

    delta: Float[Array, "B T D"]
    inputs: Float[Array, "B T E"]
    tokens: Float[Array, "B T D"]


def check_encoder(encoder: Encoder) -> FrozenEncoder:
    """Returns an encoder that gradients can be taken of.

    Raises:
      UserError: it has no attention with an output projection, or its features are not the tokens of one layer.
    """
    if isinstance(encoder, FrozenEncoder) and isinstance(encoder.backbone, FrozenViT):
        encoder.backbone.last_layer()
        return encoder
    name = getattr(encoder, "name", None) or type(encoder).__name__
    raise UserError(f"features.gradients: encoder {name} has no last attention to take gradients at; use {WORKS}")


def run_body(backbone: Backbone, params: Params, images: Images) -> LastBlock:
    """Runs everything up to the projection, in the backbone's own arithmetic."""
    with precision(backbone.dtype):
        return backbone.body(params, images)


def select(backbone: Backbone, last: LastBlock, what: str) -> LastBlock:
    """Keeps some of the tokens in float32: "cls", "patches", or "all", which are [CLS], if there is one, and patches.

    Registers are never among them.
    """

    def kept(x: Float[Array, "B T D"]) -> Float[Array, "B t D"]:
        patches, cls = backbone.split(x.astype(jnp.float32))
        if what == "patches" or cls is None:
            return patches
        return cls[:, None] if what == "cls" else jnp.concatenate([cls[:, None], patches], axis=1)

    return LastBlock(kept(last.residual), kept(last.attended))


def take_gradients(
    backbone: Backbone,
    params: Params,
    last: LastBlock,
    loss: Callable[[Float[Array, "B T D"]], Float[Array, ""]],
) -> Outer:
    """Takes the gradient of a loss of the tokens after the network's tail.

    Args:
      backbone: a ViT.
      params: its parameters.
      last: tokens before the projection.
      loss: a function of the tokens as the backbone gives them, normed if they are.
    """
    kernel, bias = backbone.projection(params)
    with jax.default_matmul_precision("highest"):
        projected = last.attended @ kernel
        projected = projected if bias is None else projected + bias
        tokens, pull = jax.vjp(lambda p: backbone.tail(params, last, p), projected)
        (delta,) = pull(jax.grad(loss)(tokens))
    ones = jnp.ones((*last.attended.shape[:2], 1), jnp.float32)
    inputs = last.attended if bias is None else jnp.concatenate([last.attended, ones], axis=-1)
    return Outer(delta, inputs, tokens)
