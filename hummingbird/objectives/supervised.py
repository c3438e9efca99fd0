"""Losses that use image labels: retrieval from the bank (Sec. 3.4) and a linear classifier."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from hummingbird.models.chunks import grouped
from hummingbird.models.context import l2_normalize
from hummingbird.models.params import AnyArray

# Probability of a class that the bank does not hold: the loss stays bounded and has no gradient.
MIN_PROBABILITY = 1e-8
LOG_ZERO = -1e30  # log of 0; finite, so that its gradient is 0 and not NaN


def classification(
    logits: Float[AnyArray, "B V classes"], labels: Int[AnyArray, " B"], smoothing: float = 0.0
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Computes the softmax cross-entropy of a linear classifier: Figure 6 at |Mp| = 0, Table 1's supervised ViT.

    Args:
      logits: float32, of V views.
      labels: negative for images without one.
      smoothing: probability that the target spreads evenly over all classes (Szegedy et al. 2016).

    Returns:
      The mean over the labelled images, summed over views as Sec. 3.4 sums its two terms, and the share of correct
      predictions. Both are 0 if no image has a label.
    """
    labelled = labels >= 0
    own = jax.nn.one_hot(labels, logits.shape[-1])[:, None]  # [B, 1, classes]; a gather would fetch other devices' rows
    if smoothing:
        own = (1 - smoothing) * own + smoothing / logits.shape[-1]
    losses = (jax.nn.logsumexp(logits, axis=-1) - jnp.sum(own * logits, axis=-1)).sum(axis=1)  # [B]
    correct = (jnp.argmax(logits, axis=-1) == labels[:, None]).mean(axis=1)
    count = jnp.maximum(labelled.sum(), 1)
    return jnp.sum(jnp.where(labelled, losses, 0.0)) / count, jnp.sum(jnp.where(labelled, correct, 0.0)) / count


def retrieval_cross_entropy(
    pooled: Float[AnyArray, "B D"],
    keys: Float[AnyArray, "M D"] | Float[AnyArray, "slots rows D"],
    bank_labels: Int[AnyArray, " M"] | Int[AnyArray, "slots rows"],
    labels: Int[AnyArray, " B"],
    beta: float,
    chunk: int = 2048,
) -> Float[Array, ""]:
    """Computes the mean of -log yhat_y with yhat = CA(chat, k, onehot(y)) (Sec. 3.4), over images that have a label.

    yhat_y is the attention that falls on entries of class y, so no [B, classes] array is made. Streams over the bank.
    The probability of a class that the bank does not hold is taken to be `MIN_PROBABILITY`.

    Args:
      pooled: attention-pooled features chat; normalised here.
      keys: keys of the bank; normalised here, no gradient.
      bank_labels: labels of the entries.
      labels: negative for images without one.
      beta: temperature, > 0.
      chunk: number of entries in memory at a time.

    Returns:
      The loss, float32; 0 if no image has a label.

    Example:
      >>> round(float(retrieval_cross_entropy(jnp.eye(2), jnp.eye(2), jnp.arange(2), jnp.arange(2), beta=0.5)), 4)
      0.1269
    """
    if keys.ndim == 2:
        keys, bank_labels = keys[None], bank_labels[None]
    query = l2_normalize(pooled)
    groups = (grouped(l2_normalize(jax.lax.stop_gradient(keys)), chunk), grouped(bank_labels, chunk))

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def step(carry: tuple[Array, Array], group: tuple[Array, Array]) -> tuple[tuple[Array, Array], None]:
        every, own = carry  # [B] log-sum-exp over all entries, over entries of the own class
        k, y = group
        scores = jnp.einsum("bd,grd->bgr", query, k, precision=jax.lax.Precision.HIGHEST) / beta
        same = y[None] == labels[:, None, None]
        every = jnp.logaddexp(every, jax.nn.logsumexp(scores, axis=(1, 2)))
        own = jnp.logaddexp(own, jax.nn.logsumexp(jnp.where(same, scores, LOG_ZERO), axis=(1, 2)))
        return (every, own), None

    start = jnp.full(labels.shape, LOG_ZERO, jnp.float32)
    (every, own), _ = jax.lax.scan(step, (start, start), groups)
    log_probability = jnp.where(own > LOG_ZERO / 2, own - every, jnp.log(MIN_PROBABILITY))
    labelled = labels >= 0
    return -jnp.sum(jnp.where(labelled, log_probability, 0.0)) / jnp.maximum(labelled.sum(), 1)
