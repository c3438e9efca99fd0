"""Objectives of pretraining: arrays in, loss out. Sections 3.3 and 3.4."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import Array

from hummingbird.models.context import grouped, l2_normalize

# Probability of a class that the bank does not hold: a bounded loss, no gradient.
MIN_PROBABILITY = 1e-8


def contrastive_logits(prediction: Array, target: Array, tau: float) -> Array:
    """<q_i, z_j> of predictions [B, P] and targets [B, P] scaled to norm 1 / sqrt(tau) (App. C.2): [B, B] float32."""
    # In full float32 on every device: the positives that they are compared with are.
    return jnp.matmul(l2_normalize(prediction), l2_normalize(target).T, precision=jax.lax.Precision.HIGHEST) / tau


def contrastive(pred1: Array, target2: Array, tau: float) -> Array:
    """Mean over the batch of Eq. 4: each prediction picks its own image among the targets of the whole batch.

    Args:
      pred1: [B, P] predictions q(z) of one view; normalised here.
      target2: [B, P] target projections of the other view; normalised here, they carry no gradient.
      tau: temperature, > 0.

    Returns:
      Scalar float32.
    """
    target2 = jax.lax.stop_gradient(target2)
    # The positives are products of rows, not the diagonal of the logits: a diagonal is a gather, for which every device
    # would fetch the rows of all others (and XLA's CPU backend runs those gathers in no fixed order, which breaks runs
    # of several processes).
    positives = jnp.sum(l2_normalize(pred1) * l2_normalize(target2), axis=1) / tau
    return jnp.mean(jax.nn.logsumexp(contrastive_logits(pred1, target2, tau), axis=1) - positives)


def top1(pred1: Array, target2: Array) -> Array:
    """Share of predictions [B, P] whose nearest target [B, P] in the batch is their own image's."""
    logits = contrastive_logits(pred1, target2, 1.0)
    return jnp.mean(jnp.argmax(logits, axis=1) == jnp.arange(len(logits)))


def classification(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Softmax cross-entropy of a linear classifier: Figure 6 at |Mp| = 0, and Table 1's supervised ViT.

    Args:
      logits: [B, V, classes] float32 of V views.
      labels: [B] int; negative: no label.

    Returns:
      Mean over the labelled images, summed over views as Sec. 3.4 sums its two terms; share of correct predictions.
      Both 0 if no image has a label.
    """
    labelled = labels >= 0
    own = jax.nn.one_hot(labels, logits.shape[-1])[:, None]  # [B, 1, classes]: a gather would fetch other devices' rows
    losses = (jax.nn.logsumexp(logits, axis=-1) - jnp.sum(own * logits, axis=-1)).sum(axis=1)  # [B]
    correct = (jnp.argmax(logits, axis=-1) == labels[:, None]).mean(axis=1)
    count = jnp.maximum(labelled.sum(), 1)
    return jnp.sum(jnp.where(labelled, losses, 0.0)) / count, jnp.sum(jnp.where(labelled, correct, 0.0)) / count


def retrieval_cross_entropy(
    pooled: Array, keys: Array, bank_labels: Array, labels: Array, beta: float, chunk: int = 2048
) -> Array:
    """Mean of -log yhat_y with yhat = CA(chat, k, onehot(y)) (Sec. 3.4), over the images that have a label.

    yhat_y is the attention that falls on the entries of class y, so no [B, classes] array is made; streamed over the
    bank. Of a class that the bank does not hold yhat_y is taken to be 1e-8 (`MIN_PROBABILITY`).

    Args:
      pooled: [B, D] attention-pooled features chat.
      keys: [M, D] or [slots, rows, D] bank keys; no gradient.
      bank_labels: [M] or [slots, rows] int labels of the entries.
      labels: [B] int; negative: no label.
      beta: temperature, > 0.

    Returns:
      Scalar float32; 0 if no image has a label.
    """
    if keys.ndim == 2:
        keys, bank_labels = keys[None], bank_labels[None]
    query = l2_normalize(pooled)
    groups = (grouped(l2_normalize(jax.lax.stop_gradient(keys)), chunk), grouped(bank_labels, chunk))

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def step(carry: tuple[Array, Array], group: tuple[Array, Array]) -> tuple[tuple[Array, Array], None]:
        every, own = carry  # [B] log-sum-exp over all entries, over those of the own class
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


LOG_ZERO = -1e30  # log of nothing; finite, so that its gradient is 0 and not NaN
