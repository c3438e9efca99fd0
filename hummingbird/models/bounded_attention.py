"""Attention over the bank (Eq. 1) without a running maximum: unit rows bound each score by 1 / temperature.

No maximum has to be known before exp(<q, k> / beta - 1 / beta), so XLA computes it while the product is still on the
chip and writes the weights alone, in the dtype of the values. `context.attend` writes and reads several arrays of
float32 scores instead. GPUs use this form; configs/pretrain/README.md has the measurements, and why there is no kernel
that keeps the weights on the chip too.
"""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from hummingbird.models.chunks import pairs_in_chunks
from hummingbird.models.context import Attended, scores_of_group

# The weight of a key with a similarity below 1 - 87 beta vanishes in float32: at this temperature, below -0.74. If all
# keys were so far from a token, its output would not be a number, and the run would stop there and say so.
LOWEST = 0.02
TINY = 2.0**-126  # the smallest normal float32


def attend_bounded(
    q: Float[Array, "T D"],
    keys: Float[Array, "S R D"],
    values: Float[Array, "S R Dv"],
    beta: float,
    chunk: int,
    length: int | None = None,
) -> Attended:
    """Attends from unit queries to all entries of the bank, as `context.attend` does.

    Statistics are those of the weights as rounded to the dtype of the values.

    Args:
      q: queries, unit rows.
      keys: unit rows; no gradient.
      values: one for each key.
      beta: temperature, at least `LOWEST`.
      chunk: number of entries in memory at a time.
      length: number of entries that count, in slot-major order; None: all.
    """
    assert beta >= LOWEST, beta
    keys, values, length = pairs_in_chunks(keys, values, chunk, length)
    keys, values = (x.reshape(len(x), -1, x.shape[-1]) for x in (keys, values))
    # The type checker cannot see through custom_vjp, hence the annotation.
    read: tuple[Array, Array, Array, Array] = _bounded(
        beta, length, q, jax.lax.stop_gradient(keys).astype(q.dtype), values
    )
    return Attended(*read)


def _weights(
    q: Array, keys: Array, beta: float, length: int | None, index: Array, log_total: Array | None = None
) -> Array:
    """Returns exp(<q, k> / beta - 1 / beta - log_total) for one chunk of keys: [T, chunk] float32."""
    scores = scores_of_group(q, keys[None], beta, length, index)[:, 0] - 1 / beta
    return jnp.exp(scores if log_total is None else scores - log_total[:, None])


_Sums = tuple[Array, Array, Array, Array]  # output [T, Dv]; sum of weights, largest, and sum of w log w, [T] each
_Saved = tuple[Array, Array, Array, Array, Array]  # q, keys, values, output, log of the normaliser


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _bounded(
    beta: float, length: int | None, q: Array, keys: Array, values: Array
) -> tuple[Array, Array, Array, Array]:
    return _forward(beta, length, q, keys, values)[0]


def _forward(
    beta: float, length: int | None, q: Array, keys: Array, values: Array
) -> tuple[tuple[Array, Array, Array, Array], _Saved]:
    def step(carry: _Sums, part: tuple[Array, Array, Array]) -> tuple[_Sums, None]:
        index, k, v = part
        p = _weights(q, k, beta, length, index).astype(v.dtype)
        output, total, largest, weighted = carry
        wide = p.astype(jnp.float32)
        return (
            output + jnp.einsum("tc,cd->td", p, v, preferred_element_type=jnp.float32),
            total + wide.sum(axis=1),
            jnp.maximum(largest, wide.max(axis=1)),
            weighted + (wide * jnp.log(jnp.maximum(wide, TINY))).sum(axis=1),
        ), None

    zeros = jnp.zeros(len(q), jnp.float32)
    start = (jnp.zeros((len(q), values.shape[-1]), jnp.float32), zeros, zeros, zeros)
    (output, total, largest, weighted), _ = jax.lax.scan(step, start, (jnp.arange(len(keys)), keys, values))
    output, log_total = output / total[:, None], jnp.log(total)
    nearest = 1 + beta * jnp.log(largest)
    entropy = log_total - weighted / total
    return (output, nearest, largest / total, entropy), (q, keys, values, output, log_total)


def _backward(
    beta: float, length: int | None, saved: _Saved, cotangents: tuple[Array, Array, Array, Array]
) -> tuple[Array, Array, Array]:
    q, keys, values, output, log_total = saved
    d_output = cotangents[0]  # see `Attended`: the other outputs have no gradient
    offset = jnp.sum(d_output * output, axis=-1)
    d_output = d_output.astype(values.dtype)

    def step(d_q: Array, part: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        index, k, v = part
        p = _weights(q, k, beta, length, index, log_total).astype(v.dtype)
        d_v = jnp.einsum("tc,td->cd", p, d_output, preferred_element_type=jnp.float32)
        d_p = jnp.einsum("td,cd->tc", d_output, v, preferred_element_type=jnp.float32)
        d_scores = p * ((d_p - offset[:, None]) / beta).astype(v.dtype)
        d_q += jnp.einsum("tc,cd->td", d_scores.astype(k.dtype), k, preferred_element_type=jnp.float32)
        return d_q, d_v.astype(v.dtype)

    d_q, d_values = jax.lax.scan(step, jnp.zeros(q.shape, jnp.float32), (jnp.arange(len(keys)), keys, values))
    return d_q.astype(q.dtype), jnp.zeros_like(keys), d_values


_bounded.defvjp(_forward, _backward)
