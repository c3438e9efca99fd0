"""Random projections of outer products against the matrices that they stand for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hummingbird.errors import UserError
from hummingbird.gradients import projection
from hummingbird.gradients.projection import dense, dense_sums, find_projection, signs, tensor

RNG = np.random.default_rng(0)
LEFT, RIGHT = RNG.normal(size=(3, 6)).astype(np.float32), RNG.normal(size=(3, 7)).astype(np.float32)
KEY = jax.random.key(5)


@pytest.mark.long
@pytest.mark.parametrize("chunk", [1, 1 << 23])
def test_the_scanned_projection_is_that_of_explicit_matrices(chunk, monkeypatch):
    monkeypatch.setattr(projection, "CHUNK", chunk)
    matrices = np.stack([signs(jax.random.fold_in(KEY, k), (6, 7)) for k in range(10)]).astype(np.float64)
    assert set(np.unique(matrices)) == {-1.0, 1.0}
    gradients = np.einsum("nd,ne->nde", LEFT, RIGHT)
    want = gradients.reshape(3, -1) @ matrices.reshape(10, -1).T / np.sqrt(10)
    np.testing.assert_allclose(dense(LEFT, RIGHT, 10, KEY), want, rtol=1e-5, atol=1e-5)
    summed = dense_sums(LEFT[None], RIGHT[None], 10, KEY)
    np.testing.assert_allclose(summed, want.sum(0, keepdims=True), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("project", [dense, tensor])
def test_inner_products_are_kept_in_expectation(project):
    """Also the product of two cosines, which `none` computes, is what both estimate without bias."""
    draws = 2000
    estimate = jax.vmap(lambda key: project(LEFT[:2], RIGHT[:2], 4, key, 3))(jax.random.split(KEY, draws))
    found = np.asarray(jnp.einsum("sd,sd->s", estimate[:, 0], estimate[:, 1]))
    want = (LEFT[0] @ LEFT[1]) * (RIGHT[0] @ RIGHT[1])
    assert abs(found.mean() - want) < 4 * found.std() / np.sqrt(draws)
    lengths = np.asarray((estimate[:, 0] ** 2).sum(-1))
    assert abs(lengths.mean() - (LEFT[0] @ LEFT[0]) * (RIGHT[0] @ RIGHT[0])) < 4 * lengths.std() / np.sqrt(draws)


def test_another_name_is_refused():
    with pytest.raises(UserError, match=r"features.projection 'sparse' is not known: use one of dense, tensor or none"):
        find_projection("sparse")
