"""DINOv2's linear probing: a linear layer by SGD, for a grid of learning rates at once, on features that are given."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float32, Int32

from hummingbird.retrieval.recognition.embed import Embedded

MOMENTUM = 0.9
REFERENCE = 256  # batch that learning rates are meant for
SCAN = 100  # steps of one call, between which a progress bar moves


def fit_linear(
    train: Embedded,
    classes: int,
    rates: tuple[float, ...],
    batch_size: int,
    steps: int,
    seed: int,
) -> list[Float32[np.ndarray, "E C"]]:
    """Trains a linear layer with a bias for each learning rate, all on the same batches.

    SGD with momentum 0.9 and without weight decay; the learning rates, times batch_size / 256, fall to 0 along a
    cosine; weights begin as N(0, 0.01), biases as 0 (DINOv2, eval/linear.py). DINOv2 augments the images anew in each
    epoch; here the features are fixed.

    Args:
      train: features as the encoder gave them, and labels.
      classes: C.
      rates: learning rates for a batch of 256.
      batch_size: images in a batch; at most those that there are.
      steps: SGD steps.
      seed: decides the initial weights and the order of the images.

    Returns:
      For each rate the weights, with the bias as their last row.
    """
    features = jnp.asarray(np.concatenate([train.raw(), np.ones((len(train.units), 1), np.float32)], axis=1))
    labels, batch = jnp.asarray(train.labels), min(batch_size, len(train.labels))
    rng = np.random.default_rng(np.random.SeedSequence([seed, len(train.labels)]))
    start = rng.normal(0, 0.01, (features.shape[1], classes)).astype(np.float32)
    start[-1] = 0
    weights = jnp.asarray(np.broadcast_to(start, (len(rates), *start.shape)))
    momentum = jnp.zeros_like(weights)
    peaks = jnp.asarray(rates, jnp.float32) * batch / REFERENCE
    order = np.empty(0, np.int32)
    for first in range(0, steps, SCAN):
        count = min(SCAN, steps - first)
        while len(order) < count * batch:
            order = np.concatenate([order, rng.permutation(len(train.labels)).astype(np.int32)])
        chosen, order = order[: count * batch].reshape(count, batch), order[count * batch :]
        scale = (1 + np.cos(np.pi * np.arange(first, first + count) / steps)) / 2
        weights, momentum = run(
            weights, momentum, features, labels, peaks, jnp.asarray(chosen), jnp.asarray(scale, jnp.float32)
        )
    return list(np.asarray(weights))


@functools.partial(jax.jit, donate_argnames=("weights", "momentum"))
def run(
    weights: Float32[Array, "R E C"],
    momentum: Float32[Array, "R E C"],
    features: Float32[Array, "N E"],
    labels: Int32[Array, " N"],
    peaks: Float32[Array, " R"],
    chosen: Int32[Array, "S B"],
    scale: Float32[Array, " S"],
) -> tuple[Float32[Array, "R E C"], Float32[Array, "R E C"]]:
    """Runs S steps of SGD for all learning rates."""

    def step(carry: tuple[Array, Array], now: tuple[Array, Array]) -> tuple[tuple[Array, Array], None]:
        (w, velocity), (rows, factor) = carry, now
        x, y = features[rows], labels[rows]
        logits = jnp.einsum("be,rec->rbc", x, w)
        slopes = (jax.nn.softmax(logits) - jax.nn.one_hot(y, w.shape[-1])) / len(rows)
        velocity = MOMENTUM * velocity + jnp.einsum("be,rbc->rec", x, slopes)
        return (w - factor * peaks[:, None, None] * velocity, velocity), None

    return jax.lax.scan(step, (weights, momentum), (chosen, scale))[0]
