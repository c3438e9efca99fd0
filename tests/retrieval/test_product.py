"""The exact kernel of gradient features, against the Frobenius cosine of the gradients themselves."""

import numpy as np
import pytest

from hummingbird import config
from hummingbird.errors import UserError
from hummingbird.retrieval.evaluation import build_evaluation
from hummingbird.retrieval.index.build import build_index
from hummingbird.retrieval.index.scores import Widths
from hummingbird.retrieval.product import ProductIndex
from tests.gradients.small import encoder
from tests.retrieval.fakes import FakeSource

RNG = np.random.default_rng(0)
WIDTHS = Widths(6, 7, 2)
ROWS = RNG.normal(size=(340, 6 + 7 + 12)).astype(np.float32)
KEYS, QUERIES = ROWS[:300], ROWS[300:]


def kernel(query, key):
    """The mean of the cosines of f and of both gradients, which are formed."""
    cosine = lambda a, b: (a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b)
    f, a, *deltas = np.split(query.astype(np.float64), (6, 13, 19))
    g, b, *others = np.split(key.astype(np.float64), (6, 13, 19))
    gradients = [cosine(np.outer(x, a), np.outer(y, b)) for x, y in zip(deltas, others, strict=True)]
    return (cosine(f, g) + sum(gradients)) / 3


WANT = np.array([[kernel(query, key) for key in KEYS] for query in QUERIES[:8]])


@pytest.mark.parametrize("kind", ["exact", "device"])
def test_neighbours_are_those_of_the_gradients(kind):
    index = ProductIndex(KEYS, WIDTHS, kind, lambda keys: build_index(keys, "exact"))
    ids, scores = index.search(QUERIES[:8], 5)
    assert (index.kind, index.exact) == (kind, True)
    np.testing.assert_array_equal(ids, np.argsort(-WANT, axis=1)[:, :5])
    np.testing.assert_allclose(scores, np.take_along_axis(WANT, ids, 1), atol=1e-5)


def test_candidates_of_projected_features_are_scored_by_the_kernel():
    index = ProductIndex(KEYS, WIDTHS, "scann", lambda proxies: build_index(proxies, "exact"))
    assert not index.exact
    ids, scores = index.search(QUERIES[:8], 5)
    np.testing.assert_allclose(scores, np.take_along_axis(WANT, ids, 1), atol=1e-5)
    truth, _ = index.exactly().search(QUERIES[:8], 5)
    np.testing.assert_array_equal(truth, np.argsort(-WANT, axis=1)[:, :5])
    found = np.mean([len(set(a) & set(b)) / 5 for a, b in zip(ids.tolist(), truth.tolist(), strict=True)])
    assert found > 0.7  # of 300 keys, 50 candidates


def test_the_kernel_belongs_to_gradients_without_a_projection():
    source, none = FakeSource(2), {"features.gradients": ("simclr",), "features.projection": "none"}
    built = build_evaluation(encoder(), config.resolve("evaluate", overrides=none), source)
    assert (built.protocol.distance, built.retrieval.index) == ("product", "exact")
    kept = build_evaluation(
        encoder(), config.resolve("evaluate", overrides={**none, "retrieval.index": "scann"}), source
    )
    assert kept.retrieval.index == "scann"
    with pytest.raises(UserError, match=r"retrieval.distance: product compares gradients; set features.projection"):
        build_evaluation(encoder(), config.resolve("evaluate", overrides={"retrieval.distance": "product"}), source)
    with pytest.raises(UserError, match=r"features.projection: none has a kernel of its own"):
        build_evaluation(encoder(), config.resolve("evaluate", overrides={**none, "retrieval.distance": "l2"}), source)
    with pytest.raises(UserError, match=r"features.pca is for whole images, or for patches with features.gradients"):
        build_evaluation(encoder(), config.resolve("evaluate", overrides={"features.pca": 8}), source)
