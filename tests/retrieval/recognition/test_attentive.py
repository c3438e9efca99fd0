"""The attentive probe: its formula in float64, and what it learns that a mean over patches cannot show."""

import jax
import numpy as np
import pytest

from hummingbird.config.images import Attentive, Images
from hummingbird.errors import UserError
from hummingbird.retrieval.recognition.attentive import Probe, fit_attentive, initial, logits
from hummingbird.retrieval.recognition.classifiers import CLASSIFIERS, Problem
from hummingbird.retrieval.recognition.embed import Embedded
from tests import reference

TOKENS, DIM, CLASSES = 9, 8, 3


def images(count, seed):
    """One patch of nine carries the class, in a direction that marks it; the others hold stronger noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, TOKENS, DIM)).astype(np.float32)
    x[..., :4] = 0
    labels = rng.integers(0, CLASSES, count).astype(np.int32)
    place = rng.integers(0, TOKENS, count)
    # Every patch has some class; the one that counts carries the mark.
    x[..., 1:4] = np.eye(CLASSES)[rng.integers(0, CLASSES, (count, TOKENS))]
    x[np.arange(count), place, 1:4] = np.eye(CLASSES)[labels]
    x[np.arange(count), place, 0] = 3
    flat = x.reshape(count, -1)
    norms = np.linalg.norm(flat, axis=1)
    return Embedded(flat / norms[:, None], norms, labels)


def test_queries_attend_to_keys_and_values_are_mixed_by_head():
    rng = np.random.default_rng(0)
    weights = jax.tree.map(lambda x: 5 * np.asarray(x), initial(rng, DIM, 2, CLASSES))
    mean, deviation = rng.normal(size=DIM), rng.uniform(1, 2, DIM)
    x = rng.normal(size=(4, TOKENS, DIM))
    normed, pooled = (x - mean) / deviation, []
    for h in range(2):
        keys, values = (normed @ np.asarray(w[:, h], np.float64) for w in (weights.key, weights.value))
        attention = reference.softmax(keys @ weights.query[h] / np.sqrt(DIM / 2))  # [4, T]
        pooled.append(np.einsum("bt,btd->bd", attention, values))
    exact = np.concatenate(pooled, axis=1) @ weights.output + weights.bias
    given = Probe(weights, np.float32(mean), np.float32(deviation))
    np.testing.assert_allclose(jax.jit(logits)(given, np.float32(x)), exact, rtol=1e-4, atol=1e-4)


def test_it_finds_the_patch_that_matters():
    probe = Attentive(learning_rates=(1e-6, 0.03), weight_decay=0.0, batch_size=64, steps=120, heads=2)
    problem = Problem(images(300, 1), images(120, 2), None, CLASSES, pooling="patches", parts=TOKENS)
    found = CLASSIFIERS["attentive"].run(problem, Images(attentive=probe))
    assert found.chosen["learning_rate"] == 0.03
    assert found.scores["top1"] > 90
    again = fit_attentive(
        problem.train.raw().reshape(-1, TOKENS, DIM), problem.train.labels, 3, 0.03, 0.0, 64, 20, 2, 0
    )
    twice = fit_attentive(
        problem.train.raw().reshape(-1, TOKENS, DIM), problem.train.labels, 3, 0.03, 0.0, 64, 20, 2, 0
    )
    jax.tree.map(np.testing.assert_array_equal, again, twice)


@pytest.mark.parametrize(
    ("pooling", "heads", "line"),
    [
        ("mean", 2, "attentive attends to patches; set images.pooling=patches"),
        ("patches", 3, r"images.attentive.heads: 3 does not divide the 8 features of a patch"),
    ],
)
def test_what_it_cannot_be_fitted_on_is_refused_by_a_line(pooling, heads, line):
    problem = Problem(images(30, 1), images(9, 2), None, CLASSES, pooling=pooling, parts=TOKENS)
    with pytest.raises(UserError, match=line):
        CLASSIFIERS["attentive"].run(problem, Images(attentive=Attentive(heads=heads)))
