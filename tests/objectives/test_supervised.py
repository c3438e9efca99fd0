"""Losses with image labels against attention over one-hot labels in NumPy float64, and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hummingbird as hb
from tests import reference

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("chunk", [5, 2048])
def test_retrieval_cross_entropy_equals_attention_over_one_hot_labels(chunk):
    pooled, keys = RNG.normal(size=(6, 8)), RNG.normal(size=(20, 8))
    bank_labels, labels = RNG.integers(0, 3, 20), RNG.integers(0, 3, 6)
    yhat = reference.cross_attention(pooled, keys, np.eye(3)[bank_labels], 0.2)
    want = -np.log(yhat[np.arange(6), labels]).mean()
    shaped = (keys.reshape(4, 5, 8), bank_labels.reshape(4, 5)) if chunk == 5 else (keys, bank_labels)
    got = jax.jit(hb.objectives.retrieval_cross_entropy, static_argnums=5)(
        jnp.float32(pooled), jnp.float32(shaped[0]), jnp.asarray(shaped[1]), jnp.asarray(labels), 0.2, chunk
    )
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_the_hardest_examples_keep_their_gradient():
    # Their class is in the bank, but so far off that its probability is below 1e-8: cosines 1 and 0.5 at beta 0.02.
    keys = np.array([[1, 0], [0.5, np.sqrt(0.75)]], np.float32)
    loss = lambda p: hb.objectives.retrieval_cross_entropy(p, keys, np.array([0, 1]), jnp.array([1]), 0.02)
    value, gradient = jax.jit(jax.value_and_grad(loss))(jnp.array([[1.0, 0.0]]))
    np.testing.assert_allclose(value, 25, rtol=1e-5)
    assert np.abs(gradient).max() > 1


def test_images_without_a_label_and_classes_the_bank_lacks_are_harmless():
    pooled, keys = (RNG.normal(size=s).astype(np.float32) for s in ((3, 8), (9, 8)))
    bank_labels = np.array([0, 1] * 4 + [-1])
    loss = jax.jit(lambda p, y: hb.objectives.retrieval_cross_entropy(p, keys, bank_labels, y, 0.1))
    alone = loss(pooled[:1], np.array([1]))
    np.testing.assert_allclose(loss(pooled, np.array([1, -1, -1])), alone, rtol=1e-6)
    assert float(loss(pooled, np.array([-1, -1, -1]))) == 0
    value, gradient = jax.jit(jax.value_and_grad(loss))(pooled, np.array([5, 5, 5]))
    np.testing.assert_allclose(value, -np.log(1e-8), rtol=1e-5)
    assert not np.any(gradient)


def test_classification_is_the_softmax_cross_entropy_of_labelled_images_summed_over_views():
    logits = np.random.default_rng(5).normal(size=(4, 2, 3)).astype(np.float32)
    labels = np.array([2, -1, 0, 1])
    log_p = np.log(reference.softmax(logits.astype(np.float64)))
    classification = jax.jit(hb.objectives.classification)
    loss, correct = classification(logits, labels)
    kept = [0, 2, 3]
    assert float(loss) == pytest.approx(-np.mean([log_p[i, :, labels[i]].sum() for i in kept]), rel=1e-6)
    assert float(correct) == pytest.approx(np.mean([(logits[i].argmax(axis=1) == labels[i]).mean() for i in kept]))
    assert not np.any(jax.jit(jax.grad(lambda x: classification(x, labels)[0]))(logits)[1])
    assert classification(logits, np.full(4, -1)) == (0, 0)
