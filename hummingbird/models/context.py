"""Attention across images: the pretraining memory bank (Eq. 2) and the streaming attention over it (Eq. 1, App. B).

The bank is stored as [S, R, D]: S ring slots of R rows, R = gcd(batch, |Mp|). A step writes batch / R whole slots, so a
bank whose rows are sharded like the batch is written without communication, first in, first out. The layout depends on
the batch and the length only, never on the number of devices.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
from jax import Array


class MemoryBank(flax.struct.PyTreeNode):
    """Mp of Eq. 2; values are recomputed from the keys by the network that attends.

    Attributes:
      keys: [S, R, D] float32, target features averaged over the tokens of an image.
      labels: [S, R] int32 image labels (Sec. 3.4), -1 where there is none.
      cursor: int32 slot that is overwritten next: the oldest.
    """

    keys: Array
    labels: Array
    cursor: Array


class Attended(NamedTuple):
    """What queries read from the bank.

    Attributes:
      output: [T, Dv] weighted mean of the values.
      nearest: [T] cosine to the nearest key. share: [T] its weight. entropy: [T] of the weights.
    """

    output: Array
    nearest: Array
    share: Array
    entropy: Array


# (q [T, D] unit rows, keys [S, R, D] unit rows, values [S, R, Dv]) -> Attended
BankAttention = Callable[[Array, Array, Array], Attended]


def init_bank(length: int, batch: int, dim: int) -> MemoryBank:
    """An empty bank of `length` entries, written `batch` at a time. length 0 gives a bank without slots."""
    rows = math.gcd(length, batch)
    slots = length // rows
    return MemoryBank(
        keys=jnp.zeros((slots, rows, dim), jnp.float32),
        labels=jnp.full((slots, rows), -1, jnp.int32),
        cursor=jnp.zeros((), jnp.int32),
    )


def push(bank: MemoryBank, keys: Array, labels: Array) -> MemoryBank:
    """Overwrites the oldest entries. keys [B, D] float, labels [B] int, B a multiple of the bank's rows."""
    slots, rows, dim = bank.keys.shape
    if slots == 0:
        return bank
    new = keys.shape[0] // rows
    # Row r takes the images r * new ... (r + 1) * new: the split that data parallelism makes of the batch.
    keys = jax.lax.stop_gradient(keys).astype(jnp.float32).reshape(rows, new, dim).swapaxes(0, 1)
    labels = labels.reshape(rows, new).swapaxes(0, 1)
    where = (bank.cursor + jnp.arange(new)) % slots
    return MemoryBank(
        keys=bank.keys.at[where].set(keys),
        labels=bank.labels.at[where].set(labels),
        cursor=(bank.cursor + new) % slots,
    )


def mean_age(bank: MemoryBank, batch: int) -> Array:
    """Steps since an entry was written, averaged over a full bank that takes `batch` a step; the newest is 1 old."""
    slots, rows, _ = bank.keys.shape
    written = batch // rows  # slots a step
    return jnp.mean(jnp.arange(slots) // written + 1.0)


def contextualize(
    q: Array, keys: Array, values: Array, weight: float, attention: BankAttention
) -> tuple[Array, Attended]:
    """(1 - lambda) q / |q| + lambda vhat / |vhat|, with vhat = CA(q, k, v) (Sec. 3.2), before psi.

    Args:
      q: [T, D] patch features.
      keys, values: [S, R, D] bank.
      weight: lambda.
      attention: CA, on unit rows in the type of the values.

    Returns:
      [T, D] in the dtype of q, and what was read from the bank.
    """
    read = attention(l2_normalize(q).astype(values.dtype), unit_keys(keys, values.dtype), values)
    mixed = (1 - weight) * l2_normalize(q) + weight * l2_normalize(read.output)
    return mixed.astype(q.dtype), read


def unit_keys(keys: Array, dtype: jnp.dtype) -> Array:
    """The bank's keys [S, R, D] as all who read them on several devices fetch them: unit rows, without gradient."""
    return jax.lax.stop_gradient(l2_normalize(keys).astype(dtype))


def context_attention(q: Array, keys: Array, values: Array, beta: float, chunk: int = 2048) -> Array:
    """CA(q, k, v) = softmax_j(<q, k_j> / (|q| |k_j| beta)) v_j (Eq. 1), streamed over the bank.

    Memory is O(Q * (D + chunk)), forward and backward, whatever M is. Keys carry no gradient.

    Args:
      q: [Q, D] queries.
      keys: [M, D].
      values: [M, Dv].
      beta: temperature, > 0.
      chunk: entries in memory at a time.

    Returns:
      [Q, Dv] float32.
    """
    length = keys.shape[0]
    size = min(chunk, length)
    slots = -(-length // size)
    pad = lambda x: jnp.pad(x, ((0, slots * size - length), (0, 0))).reshape(slots, size, x.shape[-1])
    return attend(l2_normalize(q), l2_normalize(pad(keys)), pad(values), beta, size, length).output


def l2_normalize(x: Array, epsilon: float = 1e-12) -> Array:
    """x / |x| along the last axis, in float32; a zero vector stays zero, with a finite gradient."""
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x * x, axis=-1, keepdims=True), epsilon**2))


def grouped(bank: Array, chunk: int) -> Array:
    """[S, R, ...] -> [S / g, g, R, ...]: g slots at a time, the most that divide S and hold at most `chunk` entries."""
    slots, rows = bank.shape[:2]
    group = max((g for g in range(1, slots + 1) if slots % g == 0 and g * rows <= chunk), default=1)
    return bank.reshape(slots // group, group, *bank.shape[1:])


def attend(q: Array, keys: Array, values: Array, beta: float, chunk: int, length: int | None = None) -> Attended:
    """Streaming softmax attention of unit queries over unit keys.

    Args:
      q: [T, D] unit rows. keys: [S, R, D] unit rows. values: [S, R, Dv].
      beta: temperature. chunk: entries at a time.
      length: entries that count, in slot-major order; None: all.
    """
    keys, values = grouped(keys, chunk), grouped(values, chunk)
    # A custom_vjp is an object to the type checker, so what it returns is said here.
    read: tuple[Array, ...] = _stream(beta, length, q, jax.lax.stop_gradient(keys), values)
    return Attended(*read)


def _scores(q: Array, keys: Array, beta: float, length: int | None, index: Array) -> Array:
    """<q, k> / beta of one group [g, R, D] of keys: [T, g, R] float32; entries past `length` are -inf."""
    scores = jnp.einsum("td,grd->tgr", q, keys.astype(q.dtype), preferred_element_type=jnp.float32) / beta
    if length is None:
        return scores
    group, rows = keys.shape[:2]
    position = index * group * rows + jnp.arange(group * rows).reshape(group, rows)
    return jnp.where(position < length, scores, -jnp.inf)


# Online softmax: only the running maximum, normaliser, output and score sum of each query are kept. The backward pass
# recomputes the scores group by group from the log-normaliser.
@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _stream(beta: float, length: int | None, q: Array, keys: Array, values: Array) -> tuple[Array, ...]:
    return _stream_forward(beta, length, q, keys, values)[0]


def _stream_forward(beta: float, length: int | None, q: Array, keys: Array, values: Array):
    def step(carry, group):
        top, total, output, weighted = carry
        index, k, v = group
        scores = _scores(q, k, beta, length, index)
        new_top = jnp.maximum(top, scores.max(axis=(1, 2)))
        p = jnp.exp(scores - new_top[:, None, None])
        scale = jnp.exp(top - new_top)
        read = jnp.einsum("tgr,grd->td", p.astype(v.dtype), v, preferred_element_type=jnp.float32)
        finite = jnp.where(p > 0, scores, 0.0)
        carry = (
            new_top,
            total * scale + p.sum(axis=(1, 2)),
            output * scale[:, None] + read,
            weighted * scale + (p * finite).sum(axis=(1, 2)),
        )
        return carry, None

    tokens = q.shape[0]
    start = (
        jnp.full((tokens,), -jnp.inf, jnp.float32),
        jnp.zeros((tokens,), jnp.float32),
        jnp.zeros((tokens, values.shape[-1]), jnp.float32),
        jnp.zeros((tokens,), jnp.float32),
    )
    (top, total, output, weighted), _ = jax.lax.scan(step, start, (jnp.arange(keys.shape[0]), keys, values))
    log_total = top + jnp.log(total)
    output = output / total[:, None]
    entropy = log_total - weighted / total
    return (output, top * beta, 1 / total, entropy), (q, keys, values, output, log_total)


def _stream_backward(beta: float, length: int | None, saved, cotangents):
    q, keys, values, output, log_total = saved
    d_output = cotangents[0]  # the other outputs are read as metrics only
    offset = jnp.sum(d_output * output, axis=-1)[:, None, None]

    def step(d_q, group):
        index, k, v = group
        p = jnp.exp(_scores(q, k, beta, length, index) - log_total[:, None, None])
        d_v = jnp.einsum("tgr,td->grd", p.astype(v.dtype), d_output.astype(v.dtype), preferred_element_type=jnp.float32)
        d_p = jnp.einsum("td,grd->tgr", d_output.astype(v.dtype), v, preferred_element_type=jnp.float32)
        d_scores = p * (d_p - offset) / beta
        d_q += jnp.einsum("tgr,grd->td", d_scores.astype(k.dtype), k, preferred_element_type=jnp.float32)
        return d_q, d_v.astype(values.dtype)

    d_q, d_values = jax.lax.scan(step, jnp.zeros(q.shape, jnp.float32), (jnp.arange(keys.shape[0]), keys, values))
    return d_q.astype(q.dtype), jnp.zeros_like(keys), d_values


_stream.defvjp(_stream_forward, _stream_backward)
