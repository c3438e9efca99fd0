"""The attentive probe: attention over patches by learned queries, then a linear layer (AIM, El-Nouby et al. 2024).

Features x_t are standardised by the statistics of the training images, as batch norm without scale and bias would do.
Each of H heads has a query q_h, a key matrix K_h and a value matrix V_h [D, D / H]:

    m_h = softmax_t(q_h . (K_h^T x_t) / sqrt(D / H)),   z = [V_1^T sum_t m_1t x_t; ...; V_H^T sum_t m_Ht x_t],

and the logits are W^T z + b. Since a query attends to all patches, K_h q_h is computed first and V_h applied last: the
cost per patch is 2 H D, not 4 D^2.
"""

# JAX's own annotations are partly unknown, and Optax has no stubs.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jaxtyping import Float32, Int32

from hummingbird.errors import UserError

SCAN = 20  # steps of one call, at most
PART = 2**26  # features of patches that one call takes (256 MiB), at most
BLOCK = 256  # images that are scored at a time
EPSILON = 1e-6  # added to the variance


class Weights(NamedTuple):
    """What is learned; see the module's text.

    Attributes:
      query: q.
      key: K.
      value: V.
      output: W.
      bias: b.
    """

    query: Float32[Array, "H d"]
    key: Float32[Array, "D H d"]
    value: Float32[Array, "D H d"]
    output: Float32[Array, "D C"]
    bias: Float32[Array, " C"]


class Probe(NamedTuple):
    """A fitted probe.

    Attributes:
      weights: what was learned.
      mean, deviation: by which features are standardised.
    """

    weights: Weights
    mean: Float32[Array, " D"]
    deviation: Float32[Array, " D"]


def fit_attentive(
    patches: Float32[np.ndarray, "N T D"],
    labels: Int32[np.ndarray, " N"],
    classes: int,
    rate: float,
    weight_decay: float,
    batch_size: int,
    steps: int,
    heads: int,
    seed: int,
) -> Probe:
    """Fits a probe by AdamW; its learning rate falls to 0 along a cosine.

    Args:
      patches: features as the encoder gave them; 4 N T D bytes on the host, batches on the device.
      labels: class ids.
      classes: C.
      rate: AdamW's first learning rate.
      weight_decay: of all but the bias.
      batch_size: images in a batch; at most those that there are.
      steps: AdamW's.
      heads: H, which divides D.
      seed: decides the initial weights and the order of the images.

    Raises:
      UserError: the heads do not divide D.
    """
    dim, batch = patches.shape[2], min(batch_size, len(patches))
    if dim % heads:
        raise UserError(f"config key images.attentive.heads: {heads} does not divide the {dim} features of a patch")
    rng = np.random.default_rng(np.random.SeedSequence([seed, len(labels)]))
    mean = patches.mean(axis=(0, 1), dtype=np.float64)
    deviation = np.sqrt(patches.var(axis=(0, 1), dtype=np.float64) + EPSILON)
    probe = Probe(initial(rng, dim, heads, classes), jnp.float32(mean), jnp.float32(deviation))
    moments = optimizer(rate, weight_decay, steps).init(probe.weights)
    order, most = np.empty(0, np.int64), max(1, min(SCAN, PART // (batch * patches[0].size)))
    for first in range(0, steps, most):
        count = min(most, steps - first)
        while len(order) < count * batch:
            order = np.concatenate([order, rng.permutation(len(labels))])
        chosen, order = order[: count * batch].reshape(count, batch), order[count * batch :]
        probe, moments = _run(probe, moments, patches[chosen], labels[chosen], rate, weight_decay, steps)
    return probe


def initial(rng: np.random.Generator, dim: int, heads: int, classes: int) -> Weights:
    """Draws weights: queries and W from N(0, 0.02), K and V uniformly within 1 / sqrt(D), as PyTorch does."""
    shape, bound = (dim, heads, dim // heads), dim**-0.5
    key, value = (jnp.float32(rng.uniform(-bound, bound, shape)) for _ in range(2))
    query, output = (jnp.float32(rng.normal(0, 0.02, size)) for size in (shape[1:], (dim, classes)))
    return Weights(query, key, value, output, jnp.zeros(classes))


def optimizer(rate: Array | float, weight_decay: Array | float, steps: int) -> optax.GradientTransformation:
    """Returns AdamW with a cosine schedule."""
    schedule = lambda step: rate * (1 + jnp.cos(jnp.pi * step / steps)) / 2
    not_the_bias = functools.partial(jax.tree.map, lambda x: x.ndim > 1)
    return optax.adamw(schedule, weight_decay=weight_decay, mask=not_the_bias)


def logits(probe: Probe, patches: Float32[Array, "B T D"]) -> Float32[Array, "B C"]:
    """Computes the logits of images."""
    query, key, value, output, bias = probe.weights
    x = (patches - probe.mean) / probe.deviation
    scores = x @ jnp.einsum("dhe,he->dh", key, query) / query.shape[1] ** 0.5  # [B, T, H]
    mixed = jnp.einsum("bth,btd->bhd", jax.nn.softmax(scores, axis=1), x)
    pooled = jnp.einsum("bhd,dhe->bhe", mixed, value)
    return pooled.reshape(len(x), -1) @ output + bias


@functools.partial(jax.jit, static_argnames="steps")
def _run(
    probe: Probe,
    moments: optax.OptState,
    patches: Float32[Array, "S B T D"],
    labels: Int32[Array, "S B"],
    rate: Array | float,
    weight_decay: Array | float,
    steps: int,
) -> tuple[Probe, optax.OptState]:
    """Takes S of `steps` steps."""
    moved = optimizer(rate, weight_decay, steps)

    def loss(weights: Weights, x: Array, y: Array) -> Array:
        return optax.softmax_cross_entropy_with_integer_labels(logits(probe._replace(weights=weights), x), y).mean()

    def step(carry: tuple[Any, Any], batch: tuple[Array, Array]) -> tuple[tuple[Any, Any], None]:
        weights, moments = carry
        updates, moments = moved.update(jax.grad(loss)(weights, *batch), moments, weights)
        return (optax.apply_updates(weights, updates), moments), None

    (weights, moments), _ = jax.lax.scan(step, (probe.weights, moments), (patches, labels))
    return probe._replace(weights=weights), moments


def scores_of(probe: Probe, patches: Float32[np.ndarray, "N T D"]) -> Float32[np.ndarray, "N C"]:
    """Computes the logits of many images, block by block."""
    found = [np.asarray(_logits(probe, patches[i : i + BLOCK])) for i in range(0, len(patches), BLOCK)]
    return np.concatenate(found)


_logits = jax.jit(logits)
