"""Contrastive losses over the batch: Eq. 4 and its relatives."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from hummingbird.models.context import l2_normalize
from hummingbird.models.params import AnyArray


def contrastive_logits(
    prediction: Float[AnyArray, "B P"], target: Float[AnyArray, "K P"], tau: ArrayLike
) -> Float[Array, "B K"]:
    """Returns <q_i, z_j> for rows scaled to norm 1 / sqrt(tau) (App. C.2), float32."""
    # Full float32 on every device, like the positives that these are compared with.
    return jnp.matmul(l2_normalize(prediction), l2_normalize(target).T, precision=jax.lax.Precision.HIGHEST) / tau


def positive_logits(
    prediction: Float[AnyArray, "B P"], target: Float[AnyArray, "B P"], tau: ArrayLike
) -> Float[Array, " B"]:
    """Returns <q_i, z_i>, the diagonal of `contrastive_logits`, as products of rows.

    Taking the diagonal of the logits would be a gather, for which every device fetches the rows of all others (and
    XLA's CPU backend runs such gathers in no fixed order, which breaks runs of several processes).
    """
    return jnp.sum(l2_normalize(prediction) * l2_normalize(target), axis=1) / tau


def contrastive(pred1: Float[AnyArray, "B P"], target2: Float[AnyArray, "B P"], tau: ArrayLike) -> Float[Array, ""]:
    """Computes the mean over the batch of Eq. 4: each prediction picks its own image among the targets of the batch.

    Args:
      pred1: predictions q(z) of one view; normalised here.
      target2: target projections z of the other view; normalised here, without gradient.
      tau: temperature, > 0.

    Returns:
      The loss, float32.

    Example:
      >>> round(float(contrastive(jnp.eye(2), jnp.eye(2), tau=0.5)), 4)  # log(1 + exp(-2))
      0.1269
    """
    target2 = jax.lax.stop_gradient(target2)
    positives = positive_logits(pred1, target2, tau)
    return jnp.mean(jax.nn.logsumexp(contrastive_logits(pred1, target2, tau), axis=1) - positives)


def nt_xent(z1: Float[AnyArray, "B P"], z2: Float[AnyArray, "B P"], tau: ArrayLike) -> Float[Array, ""]:
    """Computes NT-Xent (Chen et al. 2020, Eq. 1): each of 2 B projections picks its other view among the other 2 B - 1.

    Args:
      z1: projections of one view; normalised here.
      z2: projections of the other view; normalised here. The gradient reaches both.
      tau: temperature, > 0.

    Returns:
      The mean over the 2 B projections, float32.

    Example:
      >>> round(float(nt_xent(jnp.eye(2), jnp.eye(2), tau=0.5)), 4)  # log(1 + 2 exp(-2))
      0.2395
    """
    positives = positive_logits(z1, z2, tau)
    across = contrastive_logits(z1, z2, tau)
    losses = [
        jnp.logaddexp(jax.nn.logsumexp(other, axis=1), jax.nn.logsumexp(without_self(z, tau), axis=1)) - positives
        for z, other in ((z1, across), (z2, across.T))
    ]
    return 0.5 * (jnp.mean(losses[0]) + jnp.mean(losses[1]))


def without_self(z: Float[AnyArray, "B P"], tau: ArrayLike) -> Float[Array, "B B"]:
    """Returns the logits of a view with itself, -inf where a projection would be compared with itself."""
    return jnp.where(jnp.eye(len(z), dtype=bool), -jnp.inf, contrastive_logits(z, z, tau))


def top1(pred1: Float[AnyArray, "B P"], target2: Float[AnyArray, "B P"]) -> Float[Array, ""]:
    """Returns the share of predictions whose nearest target in the batch is that of their own image."""
    logits = contrastive_logits(pred1, target2, 1.0)
    return jnp.mean(jnp.argmax(logits, axis=1) == jnp.arange(len(logits)))
