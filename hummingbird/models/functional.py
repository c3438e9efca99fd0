"""Linear layers, norms and attention as functions of a parameter tree, for networks that are not Flax modules."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from hummingbird.models.params import Params, leaf, subtree


def at(params: Params, path: str) -> Params:
    """Returns the tree at a path, such as "encoder/layer/0"; KeyError that has the path if there is none."""
    try:
        return subtree(params, *path.split("/"))
    except KeyError as error:
        raise KeyError(path) from error


def linear(params: Params, path: str, x: Float[Array, "*B E"]) -> Float[Array, "*B D"]:
    """Applies the linear layer at a path: {"kernel": [E, D]}, with or without "bias": [D]."""
    layer = at(params, path)
    y = x @ leaf(layer, "kernel")
    return y + leaf(layer, "bias") if "bias" in layer else y


def layer_norm(params: Params, path: str, x: Float[Array, "*B D"], eps: float) -> Float[Array, "*B D"]:
    """Applies the layer norm at a path, {"scale": [D], "bias": [D]}."""
    layer, centred = at(params, path), x - jnp.mean(x, axis=-1, keepdims=True)
    normal = centred * jax.lax.rsqrt(jnp.mean(centred * centred, axis=-1, keepdims=True) + eps)
    return normal * leaf(layer, "scale") + leaf(layer, "bias")


def rms_norm(params: Params, path: str, x: Float[Array, "*B D"], eps: float) -> Float[Array, "*B D"]:
    """Divides by the root mean square and applies the scale at a path, {"scale": [D]}."""
    return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + eps) * leaf(at(params, path), "scale")


def attend(
    query: Float[Array, "V T E"],
    key: Float[Array, "V T E"],
    value: Float[Array, "V T E"],
    heads: int,
    scale: float,
    bias: Float[Array, "h t s"] | None = None,
    mask: Bool[Array, "V T"] | None = None,
) -> Float[Array, "V T E"]:
    """Computes softmax(scale q k^T + bias) v in each head.

    Args:
      query, key, value: rows that hold the heads one after another.
      heads: number of heads.
      scale: factor of the inner products.
      bias: added to the scores of every sample, for each head or the same for all.
      mask: True for tokens that may be attended to; None: all.
    """
    q, k, v = (x.reshape(*x.shape[:2], heads, -1) for x in (query, key, value))
    scores = scale * jnp.einsum("vthd,vshd->vhts", q, k)
    scores = scores if bias is None else scores + bias
    if mask is not None:
        scores = jnp.where(mask[:, None, None, :], scores, jnp.finfo(scores.dtype).min)
    return jnp.einsum("vhts,vshd->vthd", jax.nn.softmax(scores), v).reshape(query.shape)
