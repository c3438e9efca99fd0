"""Attention to the nearest entries alone, and on several devices, against NumPy and against one device."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hummingbird.models import bank_attention, context
from tests import reference

RNG = np.random.default_rng(0)
Q = reference.unit(RNG.normal(size=(24, 16))).astype(np.float32)
KEYS = reference.unit(RNG.normal(size=(3, 8, 16))).astype(np.float32)  # [S, R, D]
VALUES = RNG.normal(size=(3, 8, 5)).astype(np.float32)
BETA = 0.1


def of_nearest(k, chunk=8):
    return functools.partial(bank_attention.attend_nearest, beta=BETA, chunk=chunk, neighbours=k)


ALL = functools.partial(context.attend, beta=BETA, chunk=8)


@pytest.mark.parametrize(("k", "chunk"), [(1, 8), (5, 7), (12, 8), (24, 5)])
def test_nearest_attention_is_equation_1_over_the_nearest_entries(k, chunk):
    q, keys = np.asarray(Q, np.float64), np.asarray(KEYS, np.float64).reshape(24, 16)
    values = np.asarray(VALUES, np.float64).reshape(24, 5)
    scores = q @ keys.T / BETA
    scores[scores < np.sort(scores, axis=1)[:, -k, None]] = -np.inf
    p = reference.softmax(scores)
    read = jax.jit(of_nearest(k, chunk))(Q, KEYS, VALUES)
    np.testing.assert_allclose(read.output, p @ values, atol=1e-5)
    np.testing.assert_allclose(read.nearest, (q @ keys.T).max(axis=1), atol=1e-6)
    np.testing.assert_allclose(read.share, p.max(axis=1), atol=1e-5)
    np.testing.assert_allclose(read.entropy, -(p * np.log(np.where(p > 0, p, 1))).sum(axis=1), atol=1e-5)


def test_with_all_entries_as_neighbours_values_and_gradients_are_those_of_the_full_attention():
    loss = lambda f: lambda q, v: jnp.sum(jnp.sin(f(q, KEYS, v).output))
    full, nearest = (jax.jit(jax.value_and_grad(loss(f), (0, 1)))(Q, VALUES) for f in (ALL, of_nearest(24)))
    jax.tree.map(lambda g, w: np.testing.assert_allclose(g, w, atol=1e-5), nearest, full)


def test_only_the_nearest_values_get_a_gradient():
    gradient = jax.jit(jax.grad(lambda v: of_nearest(2)(Q[:1], KEYS, v).output.sum()))(VALUES)
    touched = np.flatnonzero(np.abs(gradient).sum(axis=-1))
    np.testing.assert_array_equal(np.sort(touched), np.sort(np.argsort(-(KEYS.reshape(24, 16) @ Q[0]))[:2]))


def test_keys_carry_no_gradient():
    assert not np.any(jax.jit(jax.grad(lambda k: of_nearest(2)(Q, k, VALUES).output.sum()))(KEYS))


def test_gradients_of_values_in_bfloat16_are_summed_in_float32():
    q = jnp.asarray(np.repeat(Q[:1], 4096, axis=0), jnp.bfloat16)
    keys, values = (jnp.asarray(x, jnp.bfloat16) for x in (KEYS, VALUES))
    gradient = jax.jit(jax.grad(lambda v: of_nearest(2)(q, keys, v).output.sum()))(values)
    assert np.abs(np.asarray(gradient, np.float32)).sum() == pytest.approx(4096 * 5, rel=0.01)
