"""Gradient features of any JAX function with a linear layer, such as an encoder of text or sound: `hb.gradients.of`."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import dataclasses
import functools
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

SAMPLES = 8  # samples that one call of a compiled program takes
DIMS = {"kl": losses.KL_DIM, "simclr": losses.SIMCLR_DIM}
Embed = Callable[[Params, PyTree[AnyArray]], Float[Array, "V D"]]


@dataclasses.dataclass(frozen=True, eq=False)
class Door:
    """Gradient features of a function of parameters, at one of its linear layers; `of` computes them in one call.

    Attributes:
      apply: (params, views) -> embeddings [V, D], for views with V as the first axis of every array.
      params: its parameters.
      layer: the linear layer, as a path through the parameters: "encoder/layer_11/attention/output/dense" for
        {"kernel": [E, D], "bias": [D]}, or without a bias.
      objective: "kl", or "simclr" of the views against `negatives`.
      negatives: embeddings of views of other samples, for "simclr".
      dim: outputs of the projection; None: D.
      seed: draws head and projection.
      head_dim: outputs of the head; None: those for images (Table 17).
    """

    apply: Embed
    params: Params
    layer: str
    objective: str = "kl"
    negatives: Float[AnyArray, "N D"] | None = None
    dim: int | None = None
    seed: int = 0
    head_dim: int | None = None

    def __post_init__(self) -> None:
        """Refuses a layer or an objective that does not exist."""
        find_layer(self.params, self.layer)
        if self.objective not in DIMS:
            raise UserError(f"gradients: objective {self.objective!r} is not one of {', '.join(DIMS)}")

    def __call__(self, inputs: PyTree[AnyArray]) -> Float32[np.ndarray, "B F"]:
        """Computes the features of samples, a tree of arrays [B, V, ...].

        Raises:
          UserError: views that do not fit the objective.
        """
        leaves = jax.tree.leaves(inputs)
        if not leaves or any(x.ndim < 2 for x in leaves):
            raise UserError("gradients: inputs must be arrays [B, V, ...]: samples, then their views (one for kl)")
        samples, views = leaves[0].shape[:2]
        contrasts = self.objective == "simclr"
        if contrasts != (views > 1) or contrasts != (self.negatives is not None):
            raise UserError("gradients: kl takes one view of a sample, simclr takes two or more, and negatives")
        return in_batches(self.run, self.params, inputs, min(SAMPLES, samples))

    def gradients(self, params: Params, part: PyTree[AnyArray]) -> tuple[Float[Array, "b D E"], Float[Array, "b D"]]:
        """Returns each sample's gradient of kernel and bias, as outer(delta, [a; 1]) has it, and its unit embedding."""
        names = self.layer.split("/")
        width = jax.eval_shape(self.apply, params, jax.tree.map(lambda x: x[0], part)).shape[-1]
        with jax.ensure_compile_time_eval():
            head = build_head(self.objective, self.seed, width, self.head_dim or DIMS[self.objective])
            others = None if self.negatives is None else jnp.asarray(self.negatives) @ head.kernel + head.bias

        def one(views: PyTree[Array]) -> tuple[Array, Array]:
            def loss(linear: dict[str, Array]) -> tuple[Float[Array, ""], Float[Array, " D"]]:
                embedding = self.apply(with_layer(params, names, linear), views).astype(jnp.float32)
                return loss_of(self.objective, head, embedding, others), embedding[0]

            found, first = jax.grad(loss, has_aux=True)(find_layer(params, self.layer))
            rows = [found["kernel"], *([found["bias"][None]] if "bias" in found else [])]
            return jnp.concatenate(rows).T, losses.unit(first)

        return jax.lax.map(one, part)

    @functools.cached_property
    def run(self) -> Callable[[Params, PyTree[AnyArray]], Float[Array, "b F"]]:
        """The compiled function of parameters and some samples."""

        @jax.jit
        def run(params: Params, part: PyTree[AnyArray]) -> Float[Array, "b F"]:
            gradients, first = self.gradients(params, part)
            most = jnp.max(jnp.abs(gradients), axis=(1, 2), keepdims=True)
            scaled = gradients / jnp.maximum(most, jnp.finfo(jnp.float32).tiny)
            key = named_key(self.seed, "gradients projection")
            return jnp.concatenate(
                [losses.unit(dense_matrices(scaled, self.dim or first.shape[1], key)), first], axis=1
            )

        return run


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
    head_dim: int | None = None,
) -> Float32[np.ndarray, "B F"]:
    """Computes gradient features of samples of any kind.

    Each sample's gradient is taken by autodiff of the whole function and projected by matrices of signs (Eq. 1); for
    ViTs, `features` gives the same numbers for a fraction of the cost.

    Args:
      apply, params, layer, objective, negatives, dim, seed, head_dim: the attributes of `Door`.
      inputs: tree of arrays [B, V, ...]: V views of each of B samples; one view for "kl".

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
    return Door(apply, params, layer, objective, negatives, dim, seed, head_dim)(inputs)


def in_batches(
    run: Callable[[Params, PyTree[AnyArray]], Float[Array, "b F"]], params: Params, inputs: PyTree[AnyArray], size: int
) -> Float32[np.ndarray, "B F"]:
    """Applies a function to `size` samples at a time, in float32 on every backend.

    The last batch is filled with copies of its first sample, so that one compiled program serves all.
    """
    count, found = jax.tree.leaves(inputs)[0].shape[0], list[np.ndarray]()
    for start in range(0, count, size):
        part = jax.tree.map(lambda x, rows=slice(start, start + size): padded(x[rows], size), inputs)
        with jax.default_matmul_precision("highest"):
            found.append(np.asarray(run(params, part)))
    return np.concatenate(found)[:count]


def padded(x: AnyArray, size: int) -> AnyArray:
    """Returns `size` rows: those of `x`, then copies of the first one."""
    short = size - x.shape[0]
    return x if not short else np.concatenate([np.asarray(x), np.repeat(np.asarray(x)[:1], short, axis=0)])


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
