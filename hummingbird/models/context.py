"""Attention across images: the pretraining memory bank (Eq. 2) and the streaming attention over it (Eq. 1, App. B).

The bank is stored as [S, R, D]: S ring slots of R rows, R = gcd(batch, |Mp|). A step overwrites batch / R whole slots,
first in, first out. A bank whose rows are sharded like the batch is therefore written without communication. The layout
depends on the batch and the bank length only, never on the number of devices.
"""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple, no_type_check

import flax.struct
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float, Int

from hummingbird.models.chunks import pairs_in_chunks
from hummingbird.models.params import AnyArray


@no_type_check  # at run time: trees of shapes and of shardings have this class too
class ContextBank(flax.struct.PyTreeNode):
    """The memory bank Mp of Eq. 2. By default the network that attends recomputes the values from the keys.

    Attributes:
      keys: [S, R, D] float32, features of the target network averaged over the tokens of an image.
      labels: [S, R] int32 image labels (Sec. 3.4), -1 for images without one.
      cursor: int32, the slot to overwrite next, which is the oldest.
      values: [S, R, D] float32, v = phi(k) as of when k was written; None: not stored.
    """

    keys: Array
    labels: Array
    cursor: Array
    values: Array | None = None


class Attended(NamedTuple):
    """What T queries read from the bank. Only `output` has a gradient; the rest is for logging.

    Attributes:
      output: [T, Dv] float32, weighted mean of the values.
      nearest: [T] float32, cosine similarity to the nearest key.
      share: [T] float32, attention weight of the nearest key.
      entropy: [T] float32, entropy of the attention weights in nats.
    """

    output: Float[Array, "T Dv"]
    nearest: Float[Array, " T"]
    share: Float[Array, " T"]
    entropy: Float[Array, " T"]


# (q [T, D] unit rows, keys [S, R, D] unit rows, values [S, R, Dv]) -> Attended
BankAttention = Callable[[Array, Array, Array], Attended]


def init_bank(length: int, batch: int, dim: int, stored: bool = False) -> ContextBank:
    """Returns an empty bank of `length` entries that is written `batch` entries at a time.

    Args:
      length: |Mp|; 0 gives a bank without slots: `push` leaves it alone, `Pretrainer.contextualise` does not read it.
      batch: images in the global batch.
      dim: D, the width of the encoder.
      stored: whether the bank holds values.

    Example:
      >>> init_bank(12, batch=8, dim=5).keys.shape
      (3, 4, 5)
    """
    rows = math.gcd(length, batch)
    slots = length // rows
    return ContextBank(
        keys=jnp.zeros((slots, rows, dim), jnp.float32),
        labels=jnp.full((slots, rows), -1, jnp.int32),
        cursor=jnp.zeros((), jnp.int32),
        values=jnp.zeros((slots, rows, dim), jnp.float32) if stored else None,
    )


def push(
    bank: ContextBank, keys: Float[Array, "B D"], labels: Int[Array, " B"], values: Float[Array, "B D"] | None = None
) -> ContextBank:
    """Overwrites the oldest entries of the bank.

    Args:
      bank: written in a copy; a bank without slots is returned as it is.
      keys: new keys; stored as float32 and without gradient. B is a multiple of the bank's rows.
      labels: image labels, -1 for images without one.
      values: v = phi(k) of the new keys, for a bank that stores values; stored like keys.
    """
    slots, rows, _ = bank.keys.shape
    if slots == 0:
        return bank
    new = keys.shape[0] // rows
    where = (bank.cursor + jnp.arange(new)) % slots

    def written(entries: Array, x: Array) -> Array:
        # Row r takes images r * new ... (r + 1) * new, which is how data parallelism splits the batch.
        x = jax.lax.stop_gradient(x).astype(entries.dtype).reshape(rows, new, *x.shape[1:]).swapaxes(0, 1)
        return entries.at[where].set(x)

    return ContextBank(
        keys=written(bank.keys, keys),
        labels=written(bank.labels, labels),
        cursor=(bank.cursor + new) % slots,
        values=None if bank.values is None or values is None else written(bank.values, values),
    )


def contextualise(
    q: Float[Array, "T D"],
    keys: Float[Array, "S R D"],
    values: Float[Array, "S R D"],
    weight: float,
    attention: BankAttention,
) -> tuple[Float[Array, "T D"], Attended]:
    """Mixes each token with what it reads from the bank (Sec. 3.2, App. B), before psi.

    Computes (1 - lambda) q / |q| + lambda vhat / |vhat| with vhat = CA(q, k, v).

    Args:
      q: patch tokens.
      keys: keys of the bank, as `unit_keys` makes them.
      values: values of the bank.
      weight: lambda.
      attention: CA; gets unit rows in the dtype of the values.

    Returns:
      The mixed tokens in the dtype of q, and what the tokens read from the bank.
    """
    read = attention(l2_normalize(q).astype(values.dtype), keys, values)
    mixed = (1 - weight) * l2_normalize(q) + weight * l2_normalize(read.output)
    return mixed.astype(q.dtype), read


def unit_keys(keys: Float[Array, "S R D"], dtype: DTypeLike) -> Float[Array, "S R D"]:
    """Returns the keys as unit rows without gradient, in the dtype in which they cross devices."""
    return jax.lax.stop_gradient(l2_normalize(keys).astype(dtype))


def context_attention(
    q: Float[AnyArray, "Q D"],
    keys: Float[AnyArray, "M D"],
    values: Float[AnyArray, "M Dv"],
    beta: float,
    chunk: int = 2048,
) -> Float[Array, "Q Dv"]:
    """Computes CA(q, k, v) = softmax_j(<q, k_j> / (|q| |k_j| beta)) v_j (Eq. 1), streamed over the bank.

    Memory is O(Q (D + chunk)), forward and backward, for any M. Keys carry no gradient.

    Args:
      q: queries; need not be normalised.
      keys: at least one; need not be normalised.
      values: one for each key.
      beta: temperature, > 0.
      chunk: number of entries in memory at a time.

    Returns:
      The weighted means of the values, float32.

    Raises:
      ValueError: there is no key.

    Example:
      >>> keys = jnp.eye(2)
      >>> context_attention(keys, keys, jnp.array([[1.0], [5.0]]), beta=0.01)
      Array([[1.],
             [5.]], dtype=float32)
    """
    if not len(keys):
        raise ValueError("context_attention needs at least one key to attend to")
    return attend(l2_normalize(q), l2_normalize(keys)[None], jnp.asarray(values)[None], beta, chunk).output


def l2_normalize(x: Float[AnyArray, "*axes D"], epsilon: float = 1e-12) -> Float[Array, "*axes D"]:
    """Returns x / |x| along the last axis, in float32; a zero vector stays zero and has a finite gradient."""
    x = jnp.asarray(x, jnp.float32)
    return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x * x, axis=-1, keepdims=True), epsilon**2))


def attend(
    q: Float[Array, "T D"],
    keys: Float[Array, "S R D"],
    values: Float[Array, "S R Dv"],
    beta: float,
    chunk: int,
    length: int | None = None,
) -> Attended:
    """Attends from unit queries to all entries of the bank: a streaming softmax over unit keys (Eq. 1).

    Args:
      q: queries, unit rows.
      keys: unit rows; no gradient.
      values: one for each key.
      beta: temperature.
      chunk: number of entries in memory at a time.
      length: number of entries that count, in slot-major order; None: all.
    """
    keys, values, length = pairs_in_chunks(keys, values, chunk, length)
    # The type checker cannot see through custom_vjp, hence the annotation.
    read: tuple[Array, Array, Array, Array] = _stream(beta, length, q, jax.lax.stop_gradient(keys), values)
    return Attended(*read)


def scores_of_group(q: Array, keys: Array, beta: float, length: int | None, index: Array) -> Array:
    """Returns <q, k> / beta for one group [g, R, D] of keys: [T, g, R] float32; -inf for entries past `length`."""
    scores = jnp.einsum("td,grd->tgr", q, keys.astype(q.dtype), preferred_element_type=jnp.float32) / beta
    if length is None:
        return scores
    group, rows = keys.shape[:2]
    position = index * group * rows + jnp.arange(group * rows).reshape(group, rows)
    return jnp.where(position < length, scores, -jnp.inf)


class _Running(NamedTuple):
    """Online softmax of T queries: all that is kept between groups of keys, float32.

    Attributes:
      top: [T] largest score so far.
      total: [T] sum of exp(score - top).
      output: [T, Dv] sum of the values with these weights.
      weighted: [T] sum of the scores with these weights, for the entropy.
    """

    top: Array
    total: Array
    output: Array
    weighted: Array


_Saved = tuple[Array, Array, Array, Array, Array]  # q, keys, values, output, log of the normaliser


# The backward pass recomputes the scores group by group from the log of the normaliser.
@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _stream(beta: float, length: int | None, q: Array, keys: Array, values: Array) -> tuple[Array, Array, Array, Array]:
    return _stream_forward(beta, length, q, keys, values)[0]


def _stream_forward(
    beta: float, length: int | None, q: Array, keys: Array, values: Array
) -> tuple[tuple[Array, Array, Array, Array], _Saved]:
    def step(carry: _Running, group: tuple[Array, Array, Array]) -> tuple[_Running, None]:
        index, k, v = group
        scores = scores_of_group(q, k, beta, length, index)
        top = jnp.maximum(carry.top, scores.max(axis=(1, 2)))
        p = jnp.exp(scores - top[:, None, None])
        scale = jnp.exp(carry.top - top)
        read = jnp.einsum("tgr,grd->td", p.astype(v.dtype), v, preferred_element_type=jnp.float32)
        finite = jnp.where(p > 0, scores, 0.0)
        carry = _Running(
            top,
            carry.total * scale + p.sum(axis=(1, 2)),
            carry.output * scale[:, None] + read,
            carry.weighted * scale + (p * finite).sum(axis=(1, 2)),
        )
        return carry, None

    tokens = q.shape[0]
    start = _Running(
        jnp.full((tokens,), -jnp.inf, jnp.float32),
        jnp.zeros((tokens,), jnp.float32),
        jnp.zeros((tokens, values.shape[-1]), jnp.float32),
        jnp.zeros((tokens,), jnp.float32),
    )
    end, _ = jax.lax.scan(step, start, (jnp.arange(keys.shape[0]), keys, values))
    log_total = end.top + jnp.log(end.total)
    output = end.output / end.total[:, None]
    entropy = log_total - end.weighted / end.total
    return (output, end.top * beta, 1 / end.total, entropy), (q, keys, values, output, log_total)


def _stream_backward(
    beta: float, length: int | None, saved: _Saved, cotangents: tuple[Array, Array, Array, Array]
) -> tuple[Array, Array, Array]:
    q, keys, values, output, log_total = saved
    d_output = cotangents[0]  # see `Attended`: the other outputs have no gradient
    offset = jnp.sum(d_output * output, axis=-1)[:, None, None]

    def step(d_q: Array, group: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        index, k, v = group
        p = jnp.exp(scores_of_group(q, k, beta, length, index) - log_total[:, None, None])
        d_v = jnp.einsum("tgr,td->grd", p.astype(v.dtype), d_output.astype(v.dtype), preferred_element_type=jnp.float32)
        d_p = jnp.einsum("td,grd->tgr", d_output.astype(v.dtype), v, preferred_element_type=jnp.float32)
        d_scores = p * (d_p - offset) / beta
        d_q += jnp.einsum("tgr,grd->td", d_scores.astype(k.dtype), k, preferred_element_type=jnp.float32)
        return d_q, d_v.astype(values.dtype)

    d_q, d_values = jax.lax.scan(step, jnp.zeros(q.shape, jnp.float32), (jnp.arange(keys.shape[0]), keys, values))
    return d_q.astype(q.dtype), jnp.zeros_like(keys), d_values


_stream.defvjp(_stream_forward, _stream_backward)
