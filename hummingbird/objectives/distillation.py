"""Losses of self-distillation: a teacher's sharpened distribution over prototypes, and the student's cross-entropy."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Shaped

from hummingbird.models.params import AnyArray


def centred(
    logits: Float[AnyArray, "*batch K"], centre: Float[AnyArray, " K"], tau: ArrayLike
) -> Float[Array, "*batch K"]:
    """Returns softmax((g - c) / tau): the teacher's distribution (Caron et al. 2021, Eq. 1 with the centre of Eq. 4).

    Example:
      >>> centred(jnp.array([[1.0, 0.0]]), jnp.array([1.0, 0.0]), 0.04).tolist()
      [[0.5, 0.5]]
    """
    return jax.nn.softmax((logits - centre) / tau, axis=-1)


def moved_centre(
    centre: Float[AnyArray, " K"], logits: Float[AnyArray, "*batch K"], momentum: float
) -> Float[Array, " K"]:
    """Returns c <- m c + (1 - m) mean of the teacher's logits over the batch and its views (DINO, Eq. 4)."""
    mean = jnp.mean(jax.lax.stop_gradient(logits), axis=tuple(range(logits.ndim - 1)))
    return momentum * jnp.asarray(centre) + (1 - momentum) * mean


def sinkhorn(
    logits: Float[AnyArray, "N K"],
    tau: ArrayLike,
    weights: Float[AnyArray, " N"] | None = None,
    iterations: int = 3,
) -> Float[Array, "N K"]:
    """Assigns samples to prototypes so that each prototype gets an equal share (SwAV, Caron et al. 2020, Eq. 3-5).

    Args:
      logits: of the teacher.
      tau: temperature; the entropic regularisation epsilon there.
      weights: 0 for samples that are left out, else 1; None: all take part.
      iterations: of Sinkhorn-Knopp.

    Returns:
      Rows that sum to 1, without gradient.

    Example:
      >>> sinkhorn(jnp.array([[1.0, 0.0], [1.0, 0.0]]), 0.1).round(3).tolist()  # the prototypes share both samples
      [[0.5, 0.5], [0.5, 0.5]]
    """
    rows = jax.lax.stop_gradient(jnp.asarray(logits))
    taking_part = jnp.ones(len(rows)) if weights is None else jnp.asarray(weights)
    centre = sinkhorn_centre(lambda x: x, (rows[None], taking_part[None]), rows.shape[-1], tau, iterations)
    return centred(rows, centre, tau)


def sinkhorn_centre(
    logits_of: Callable[[Array], Float[Array, "*batch K"]],
    parts: tuple[Shaped[Array, "P ..."], Shaped[Array, " P *batch"]],
    prototypes: int,
    tau: ArrayLike,
    iterations: int = 3,
) -> Float[Array, " K"]:
    """Returns the centre c by which softmax((g - c) / tau) is the assignment of Sinkhorn-Knopp.

    Sinkhorn-Knopp scales columns and rows of exp(g / tau) in turn and ends with the rows, as the softmax does: all that
    remains of it is a factor per column. It is found without keeping the logits of all samples at a time.

    Args:
      logits_of: returns the logits of a part.
      parts: samples in P parts, and their weights: 0 for samples that are left out, else 1.
      prototypes: K.
      tau: temperature.
      iterations: of Sinkhorn-Knopp.
    """

    def columns(scales: Array, normalise_rows: bool) -> Array:
        """Returns the logarithms of the column sums."""

        def add(total: Array, part: tuple[Array, Array]) -> tuple[Array, None]:
            log_q = logits_of(part[0]) / tau - scales
            if normalise_rows:
                log_q = log_q - jax.nn.logsumexp(log_q, axis=-1, keepdims=True)
            log_q = jnp.where(part[1][..., None] > 0, log_q, -jnp.inf)
            return jnp.logaddexp(total, jax.nn.logsumexp(log_q, axis=tuple(range(log_q.ndim - 1)))), None

        return jax.lax.scan(add, jnp.full(prototypes, -jnp.inf), parts)[0]

    scales = jnp.zeros(prototypes)
    for i in range(iterations):
        found = columns(scales, normalise_rows=i > 0)
        scales = scales + jnp.where(jnp.isfinite(found), found, 0.0)  # no sample at all: left as they are
    return jax.lax.stop_gradient(scales * tau)


def cross_entropy(
    teacher: Float[AnyArray, "*batch K"], student: Float[AnyArray, "*batch K"], tau: ArrayLike
) -> Float[Array, "*batch"]:
    """Computes H(P_t, P_s) = -sum P_t log softmax(g_s / tau) (Caron et al. 2021, Eq. 2)."""
    student = student / tau
    return jax.nn.logsumexp(student, axis=-1) - jnp.sum(teacher * student, axis=-1)


def across_views(
    teacher: Float[AnyArray, "B G K"], student: Float[AnyArray, "B V K"], tau: ArrayLike
) -> Float[Array, ""]:
    """Computes the mean of H over images and all pairs of a global view and another view (DINO, Eq. 3).

    Args:
      teacher: distributions of the global views.
      student: logits of all views, the global ones first.
      tau: temperature of the student.

    Returns:
      The mean, not the sum of Eq. 3, as in the authors' code.
    """
    student = student / tau
    # sum_k P_t log P_s as a product: rows of the teacher sum to 1, so the log-normaliser comes out of the sum.
    products = jnp.einsum("bgk,bvk->bgv", teacher, student, precision=jax.lax.Precision.HIGHEST)
    entropies = jax.nn.logsumexp(student, axis=-1)[:, None] - products
    others = 1 - jnp.eye(teacher.shape[1], student.shape[1])
    return jnp.sum(entropies.mean(axis=0) * others) / jnp.sum(others)


def entropy(probabilities: Float[AnyArray, "*batch K"]) -> Float[Array, ""]:
    """Returns the mean entropy of distributions, nats: 0 and log K are the two ways to collapse."""
    return -jnp.sum(probabilities * jnp.log(probabilities + 1e-12), axis=-1).mean()
