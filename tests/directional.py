"""Compares a function in float32, and its gradient, with an independent one in float64."""

import jax
import numpy as np
import pytest


def assert_same_value_and_gradient(ours, independent, *arguments, seed=3, rel=1e-2):
    """Compares values, and slopes along one random direction for each array, with central differences.

    Args:
      ours: JAX, float32.
      independent: NumPy, float64.
      arguments: trees of arrays, which both take.
    """
    exact = jax.tree.map(lambda x: np.asarray(x, np.float64), arguments)
    single = jax.tree.map(lambda x: np.asarray(x, np.float32), arguments)
    value, gradients = jax.jit(jax.value_and_grad(ours, tuple(range(len(arguments)))))(*single)
    assert float(value) == pytest.approx(independent(*exact), rel=1e-5, abs=1e-5)
    leaves, tree = jax.tree.flatten(exact)
    rng, largest = np.random.default_rng(seed), 0.0
    for i, gradient in enumerate(jax.tree.leaves(gradients)):
        direction = rng.normal(size=leaves[i].shape)
        at = []
        for e in (1e-6, -1e-6):
            moved = [x + e * direction if j == i else x for j, x in enumerate(leaves)]
            at.append(independent(*jax.tree.unflatten(tree, moved)))
        slope = (at[0] - at[1]) / 2e-6
        assert np.sum(np.asarray(gradient, np.float64) * direction) == pytest.approx(slope, rel=rel, abs=1e-3)
        largest = max(largest, abs(slope))
    assert largest > 1e-2, "nothing was compared"
