"""Splits a memory bank into parts that are read one after the other, so that memory is bounded for every bank."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import math

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from hummingbird.models.params import AnyArray


def grouped(bank: AnyArray, chunk: int) -> Array:
    """Splits a bank [S, R, ...] that may lie on several devices into groups [N, g, r, ...] of at most `chunk` entries.

    Groups consist of whole slots, of a number that divides S. Where a slot is larger than `chunk`, they consist of
    every p-th row: rows that are divided over devices stay so if their number divides r. `ungrouped` reverses it.

    Example:
      >>> grouped(jnp.zeros((6, 4, 5)), chunk=10).shape, grouped(jnp.zeros((6, 4, 5)), chunk=2).shape
      ((3, 2, 4, 5), (12, 1, 2, 5))
    """
    (slots, rows), rest = bank.shape[:2], bank.shape[2:]
    bank = jnp.asarray(bank)
    if rows <= chunk:
        group = _largest_divisor(slots, chunk // rows)
        return bank.reshape(slots // group, group, rows, *rest)
    kept = _largest_divisor(rows, chunk)
    pieces = rows // kept
    return bank.reshape(slots, kept, pieces, *rest).swapaxes(1, 2).reshape(slots * pieces, 1, kept, *rest)


def ungrouped(groups: Float[Array, "N g r D"], slots: int) -> Float[Array, "S R D"]:
    """Joins what `grouped` split."""
    _, _, kept, dim = groups.shape
    return groups.reshape(slots, -1, kept, dim).swapaxes(1, 2).reshape(slots, -1, dim)


def in_chunks(bank: AnyArray, chunk: int) -> Array:
    """Splits a bank [S, R, ...] on one device into chunks [N, g, r, ...] of at most `chunk` entries, in their order.

    Where no number between a quarter of `chunk` and `chunk` divides the bank, it is padded with zeros at the end.

    Example:
      >>> in_chunks(jnp.zeros((6, 4, 5)), chunk=10).shape, in_chunks(jnp.zeros((1, 31, 5)), chunk=8).shape
      ((3, 2, 4, 5), (4, 1, 8, 5))
    """
    (slots, rows), rest = bank.shape[:2], bank.shape[2:]
    total = slots * rows
    group = _largest_divisor(slots, max(1, chunk // rows))
    if (group == slots and total <= chunk) or chunk < 2 * group * rows <= 2 * chunk:
        return jnp.asarray(bank).reshape(slots // group, group, rows, *rest)
    size = _largest_divisor(total, chunk)
    size = size if 4 * size > chunk else chunk
    flat = jnp.asarray(bank).reshape(total, *rest)
    flat = jnp.pad(flat, ((0, -total % size), *((0, 0) for _ in rest))) if total % size else flat
    return flat.reshape(-1, 1, size, *rest)


def pairs_in_chunks(
    keys: AnyArray, values: AnyArray, chunk: int, length: int | None = None
) -> tuple[Array, Array, int | None]:
    """Splits keys and values [S, R, ...] by `in_chunks`; returns both, and how many entries count.

    Args:
      keys, values: of the same entries.
      chunk: most entries in memory at a time.
      length: number of entries that count; None: all, which is returned as a number only where they are padded.
    """
    entries = keys.shape[0] * keys.shape[1]
    keys, values = in_chunks(keys, chunk), in_chunks(values, chunk)
    padded = math.prod(keys.shape[:3]) > entries
    return keys, values, entries if length is None and padded else length


def _largest_divisor(number: int, limit: int) -> int:
    return max(n for n in range(1, min(number, limit) + 1) if number % n == 0)
