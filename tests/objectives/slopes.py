"""Gradients of JAX functions against finite differences of float64 NumPy functions."""

import jax
import numpy as np


def assert_gradient(function, at, gradients, rtol=1e-3, atol=1e-4, seed=0):
    """Compares slopes along a random direction in each array.

    Args:
      function: NumPy function of a tree of float64 arrays.
      at: the tree.
      gradients: what JAX says, a like tree.
      rtol, atol: tolerances of a slope.
      seed: of the directions.
    """
    leaves, tree = jax.tree.flatten(jax.tree.map(lambda x: np.asarray(x, np.float64), at))
    named = jax.tree.leaves_with_path(gradients)
    assert len(leaves) == len(named)
    rng = np.random.default_rng(seed)
    for i, (path, gradient) in enumerate(named):
        direction = rng.normal(size=leaves[i].shape)
        ends = []
        for e in (1e-6, -1e-6):
            moved = [x + e * direction if j == i else x for j, x in enumerate(leaves)]
            ends.append(function(jax.tree.unflatten(tree, moved)))
        slope = (ends[0] - ends[1]) / 2e-6
        got = np.sum(np.asarray(gradient, np.float64) * direction)
        np.testing.assert_allclose(got, slope, rtol=rtol, atol=atol, err_msg=jax.tree_util.keystr(path))
