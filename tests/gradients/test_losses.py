"""The objectives against loops over pairs, in float64, and where they are not defined."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hummingbird.gradients.losses import attraction, dino, info_nce, kl_to_uniform, unit

RNG = np.random.default_rng(0)


def softmax(z):
    e = np.exp(z - z.max())
    return e / e.sum()


def cosine(a, b):
    return a @ b / np.sqrt((a @ a) * (b @ b))


def test_kl_is_that_of_the_uniform_distribution_to_the_softmax():
    z = RNG.normal(size=(3, 7))
    want = [sum(1 / 7 * np.log((1 / 7) / p) for p in softmax(row / 15)) for row in z]
    np.testing.assert_allclose(kl_to_uniform(jnp.asarray(z)), want, rtol=1e-5)
    slope = jax.grad(lambda z: kl_to_uniform(z).sum())(jnp.asarray(z, jnp.float32))
    np.testing.assert_allclose(slope, [(softmax(row / 15) - 1 / 7) / 15 for row in z], rtol=1e-5, atol=1e-9)
    want = [sum(1 / 7 * np.log((1 / 7) / p) for p in softmax(row / 0.5)) for row in z]
    np.testing.assert_allclose(kl_to_uniform(jnp.asarray(z), 0.5), want, rtol=1e-5)


def test_dino_sums_all_pairs_of_views_and_the_teacher_gets_no_gradient():
    teacher, student = RNG.normal(size=(2, 5)), RNG.normal(size=(4, 5))
    want = sum(-softmax(t / 0.07) @ np.log(softmax(s / 0.1)) for t in teacher for s in student)
    of = jax.value_and_grad(dino, (0, 1))
    value, (to_teacher, to_student) = of(jnp.asarray(teacher, jnp.float32), jnp.asarray(student, jnp.float32))
    assert float(value) == pytest.approx(want, rel=1e-5)
    assert not to_teacher.any()
    assert to_student.any()


@pytest.mark.parametrize("denominator", [None, 1.0])
def test_info_nce_divides_both_terms_by_their_temperatures_and_leaves_itself_out(denominator):
    u, n, kept = RNG.normal(size=(4, 6)), RNG.normal(size=(5, 6)), np.array([1, 0, 1, 1, 0], bool)
    want, tau = 0.0, denominator or 0.07
    for i in range(4):
        rest = [j for j in range(4) if j != i]
        positive = np.mean([cosine(u[i], u[j]) / 0.07 for j in rest])
        scores = [cosine(u[i], u[j]) / tau for j in rest] + [cosine(u[i], x) / tau for x in n[kept]]
        want += (-positive + np.log(np.sum(np.exp(scores)))) / 4
    loss = jax.jit(lambda u, n, kept: info_nce(u, n, denominator=denominator, kept=kept))
    assert float(loss(u, n, kept)) == pytest.approx(want, rel=1e-4)
    everything = jax.jit(lambda u, n: info_nce(u, n, denominator=denominator))
    assert float(everything(u, n[kept])) == pytest.approx(want, rel=1e-4)


def test_attraction_is_the_first_term():
    u = RNG.normal(size=(5, 6))
    want = -np.mean([cosine(u[i], u[j]) for i in range(5) for j in range(5) if i != j]) / 0.07
    assert float(attraction(jnp.asarray(u))) == pytest.approx(want, rel=1e-4)


def test_the_gradient_of_info_nce_is_that_of_the_closed_form():
    """q_i of the specification: attraction to the other views, repulsion weighted by both softmaxes."""
    u, n, tau = RNG.normal(size=(4, 6)), RNG.normal(size=(5, 6)), 0.07
    u, n = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (u, n))
    scores = np.concatenate([u @ u.T, u @ n.T], 1) / tau
    scores[np.arange(4), np.arange(4)] = -np.inf
    pi = np.stack([softmax(row) for row in scores])
    q = np.stack([
        sum(((pi[i, j] + pi[j, i]) - 2 / 3) / tau * u[j] for j in range(4) if j != i) + pi[i, 4:] @ n / tau
        for i in range(4)
    ])  # fmt: skip
    q = (q - (q * u).sum(1, keepdims=True) * u) / 4  # tangential, for vectors of length 1
    got = jax.jit(jax.grad(info_nce))(u.astype(np.float32), n.astype(np.float32))
    np.testing.assert_allclose(got, q, rtol=1e-4, atol=1e-5)


def test_zero_vectors_stay_zero_and_have_gradients_of_zero():
    found, pull = jax.vjp(unit, jnp.zeros((2, 3)))
    assert not found.any()
    assert np.isfinite(pull(jnp.ones((2, 3)))[0]).all()
    assert not pull(jnp.ones((2, 3)))[0].any()
