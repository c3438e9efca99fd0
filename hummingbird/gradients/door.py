"""Gradient features of any JAX function with a linear layer, such as an encoder of text or sound: `hb.gradients.of`."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Float32, PyTree

from hummingbird.errors import UserError
from hummingbird.gradients import losses
from hummingbird.gradients.heads import Head, build_head, named_key
from hummingbird.gradients.projection import dense_matrices
from hummingbird.models.params import AnyArray, Params

SAMPLES = 8  # whose gradients are in memory at a time
DIMS = {"kl": losses.KL_DIM, "simclr": losses.SIMCLR_DIM}
Embed = Callable[[Params, PyTree[AnyArray]], Float[Array, "V D"]]


def of(
    apply: Embed,
    params: Params,
    inputs: PyTree[AnyArray],
    layer: str,
    objective: str = "kl",
    *,
    negatives: Float[AnyArray, "N D"] | None = None,
    dim: int | None = None,
    seed: int = 0,
) -> Float32[np.ndarray, "B F"]:
    """Computes gradient features of samples of any kind.

    Each sample's gradient is taken by autodiff of the whole function and projected by matrices of signs (Eq. 1); for
    ViTs, `features` gives the same numbers for a fraction of the cost.

    Args:
      apply: (params, views) -> embeddings [V, D], for views with V as the first axis of every array.
      params: its parameters.
      inputs: tree of arrays [B, V, ...]: V views of each of B samples; one view for "kl".
      layer: the linear layer, as a path through the parameters: "encoder/layer_11/attention/output/dense" for
        {"kernel": [E, D], "bias": [D]}, or without a bias.
      objective: "kl", or "simclr" of the views against `negatives`.
      negatives: embeddings of views of other samples, for "simclr".
      dim: outputs of the projection; None: D.
      seed: draws head and projection.

    Returns:
      The L2-normalised projected gradient and the L2-normalised embedding of the first view, side by side.

    Raises:
      UserError: no such layer or objective, or views that do not fit it.

    Example:
      >>> params = {"dense": {"kernel": np.ones((3, 4)), "bias": np.zeros(4)}}
      >>> apply = lambda params, x: jnp.tanh(x @ params["dense"]["kernel"] + params["dense"]["bias"])
      >>> of(apply, params, np.ones((2, 1, 3)), "dense").shape
      (2, 8)
    """
    linear, names = find_layer(params, layer), layer.split("/")
    leaves = jax.tree.leaves(inputs)
    if objective not in DIMS:
        raise UserError(f"gradients: objective {objective!r} is not one of {', '.join(DIMS)}")
    if not leaves or any(x.ndim < 2 for x in leaves):
        raise UserError("gradients: inputs need arrays [B, V, ...]: samples, then their views (one for kl)")
    samples, views = leaves[0].shape[:2]
    if (objective == "simclr") != (views > 1) or (objective == "simclr") != (negatives is not None):
        raise UserError("gradients: kl takes one view of a sample, simclr takes two or more, and negatives")
    shape = jax.eval_shape(apply, params, jax.tree.map(lambda x: x[0], inputs))
    width = shape.shape[-1]
    head, key = build_head(objective, seed, width, DIMS[objective]), named_key(seed, "gradients projection")
    others = None if negatives is None else jnp.asarray(negatives) @ head.kernel + head.bias

    def loss(linear: dict[str, Array], views: PyTree[Array]) -> tuple[Float[Array, ""], Float[Array, " D"]]:
        embedding = apply(with_layer(params, names, linear), views).astype(jnp.float32)
        return loss_of(objective, head, embedding, others), losses.unit(embedding[0])

    @jax.jit
    def run(part: PyTree[Array]) -> Float[Array, "b F"]:
        found, embedding = jax.lax.map(lambda x: jax.grad(loss, has_aux=True)(linear, x), part)
        rows = [found["kernel"], *([found["bias"][:, None]] if "bias" in found else [])]
        gradients = jnp.concatenate(rows, axis=1).swapaxes(1, 2)  # [b, D, E + 1], as outer(delta, [a; 1])
        most = jnp.max(jnp.abs(gradients), axis=(1, 2), keepdims=True)
        scaled = gradients / jnp.maximum(most, jnp.finfo(jnp.float32).tiny)
        return jnp.concatenate([losses.unit(dense_matrices(scaled, dim or width, key)), embedding], axis=1)

    parts = [slice(start, start + SAMPLES) for start in range(0, samples, SAMPLES)]
    return np.concatenate([np.asarray(run(jax.tree.map(lambda x, part=part: x[part], inputs))) for part in parts])


def loss_of(
    objective: str, head: Head, embedding: Float[Array, "V D"], negatives: Float[Array, "N K"] | None
) -> Float[Array, ""]:
    """Returns the loss of one sample; KL's head takes normalised embeddings, SimCLR's takes them as they are."""
    if negatives is None:
        return jnp.sum(losses.kl_to_uniform(losses.unit(embedding) @ head.kernel + head.bias))
    return losses.info_nce(embedding @ head.kernel + head.bias, negatives)


def find_layer(params: Params, layer: str) -> dict[str, Array]:
    """Returns kernel and bias (if it has one) of a linear layer; UserError that lists what is there instead."""
    found: Params | AnyArray = params
    for depth, name in enumerate(layer.split("/")):
        if not isinstance(found, Mapping) or name not in found:
            here = "/".join(layer.split("/")[:depth]) or "the parameters"
            names = ", ".join(sorted(found)) if isinstance(found, Mapping) else "an array"
            raise UserError(f"gradients: there is no layer {layer!r}: {here} has {names}")
        found = found[name]
    kernel = found.get("kernel") if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping) or kernel is None or isinstance(kernel, Mapping) or kernel.ndim != 2:
        raise UserError(
            f"gradients: {layer!r} is not a linear layer; it needs a 'kernel' [E, D], and may have a 'bias' [D]"
        )
    return {name: jnp.asarray(found[name]) for name in ("kernel", "bias") if name in found}


def with_layer(params: Params, names: list[str], linear: dict[str, Array]) -> Params:
    """Returns parameters with another layer at a path."""
    if not names:
        return {**params, **linear}
    inner = params[names[0]]
    assert isinstance(inner, Mapping)
    return {**params, names[0]: with_layer(inner, names[1:], linear)}
