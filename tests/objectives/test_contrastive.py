"""Eq. 4 and NT-Xent against NumPy float64 and by hand."""

import jax
import numpy as np
import pytest

import hummingbird as hb
from tests import reference

RNG = np.random.default_rng(0)
contrastive, nt_xent = map(jax.jit, (hb.objectives.contrastive, hb.objectives.nt_xent))


@pytest.mark.parametrize("tau", [0.1, 1.0])
def test_contrastive_equals_equation_4(tau):
    q, z = RNG.normal(size=(2, 7, 5))
    got = contrastive(q.astype(np.float32), z.astype(np.float32), tau)
    np.testing.assert_allclose(got, reference.contrastive(q, z, tau), rtol=1e-5)


def test_contrastive_by_hand():
    eye = np.eye(2, dtype=np.float32)
    # exp(1 / tau) / (exp(1 / tau) + exp(0)) for each of the two
    np.testing.assert_allclose(contrastive(3 * eye, eye, 0.5), np.log(1 + np.exp(-2)), rtol=1e-6)


def test_contrastive_gradient_reaches_predictions_only():
    q, z = RNG.normal(size=(2, 4, 5)).astype(np.float32)
    dq, dz = jax.jit(jax.grad(contrastive, (0, 1)))(q, z, 0.1)
    step = 1e-3 * RNG.normal(size=q.shape)
    change = reference.contrastive(q + step, z, 0.1) - reference.contrastive(q - step, z, 0.1)
    np.testing.assert_allclose(2 * np.sum(np.asarray(dq, np.float64) * step), change, rtol=1e-3)
    assert not np.any(dz)


@pytest.mark.parametrize("tau", [0.1, 0.5])
def test_nt_xent_equals_equation_1_of_simclr_in_value_and_gradient(tau):
    z1, z2 = np.random.default_rng(1).normal(size=(2, 6, 5))
    loss = lambda z1, z2: nt_xent(z1, z2, tau)
    value, gradients = jax.jit(jax.value_and_grad(loss, (0, 1)))(z1.astype(np.float32), z2.astype(np.float32))
    np.testing.assert_allclose(value, reference.nt_xent(z1, z2, tau), rtol=1e-5)
    for view, gradient in enumerate(gradients):
        step = 1e-6 * RNG.normal(size=z1.shape)
        at = [
            reference.nt_xent(*(z + sign * step * (i == view) for i, z in enumerate((z1, z2))), tau) for sign in (1, -1)
        ]
        np.testing.assert_allclose(2 * np.sum(np.asarray(gradient, np.float64) * step), at[0] - at[1], rtol=1e-3)


def test_nt_xent_by_hand():
    eye = np.eye(2, dtype=np.float32)
    # Two of the three others have cosine 0, the positive has cosine 1.
    np.testing.assert_allclose(nt_xent(3 * eye, eye, 0.5), np.log(1 + 2 * np.exp(-2)), rtol=1e-6)
