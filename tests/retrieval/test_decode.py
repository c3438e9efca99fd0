import numpy as np
import pytest

from hummingbird.errors import UserError
from hummingbird.retrieval.decode import attention_weights, cross_attend


def naive(q, keys, values, beta):
    """Eq. 1, one query at a time."""
    out = []
    for i in range(len(q)):
        s = np.array([q[i] @ k / np.linalg.norm(q[i]) / np.linalg.norm(k) / beta for k in keys[i]])
        a = np.exp(s - s.max()) / np.exp(s - s.max()).sum()
        out.append(sum(a[j] * values[i][j] for j in range(len(a))))
    return np.array(out)


@pytest.mark.parametrize("beta", [0.02, 0.1, 1.0])
def test_cross_attend_is_equation_1(beta):
    rng = np.random.default_rng(0)
    q, keys, values = rng.normal(size=(4, 8)), rng.normal(size=(4, 5, 8)), rng.random((4, 5, 3))
    expected = naive(q, keys, values, beta)
    np.testing.assert_allclose(cross_attend(q, keys, values, beta), expected, rtol=1e-10)
    single = cross_attend(*(x.astype(np.float32) for x in (q, keys, values)), beta)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected, atol=2e-5)


def test_cross_attend_takes_similarities_or_one_bank_for_all():
    rng = np.random.default_rng(1)
    q, bank, values = rng.normal(size=(3, 8)), rng.normal(size=(6, 8)), rng.random((6, 2))
    expected = naive(q, [bank] * 3, [values] * 3, 0.1)
    cosine = (q / np.linalg.norm(q, axis=1, keepdims=True)) @ (bank / np.linalg.norm(bank, axis=1, keepdims=True)).T
    np.testing.assert_allclose(cross_attend(q, bank, values, 0.1), expected, rtol=1e-10)
    np.testing.assert_allclose(cross_attend(None, cosine, np.stack([values] * 3), 0.1), expected, rtol=1e-10)


def test_missing_neighbours_get_no_weight():
    weights = attention_weights(np.array([[0.5, -np.inf, 0.5]]), 0.02)
    np.testing.assert_allclose(weights, [[0.5, 0, 0.5]])
    with pytest.raises(UserError, match=r"no neighbour"):
        attention_weights(np.full((1, 2), -np.inf), 0.02)
