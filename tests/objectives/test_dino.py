"""DINO: its head, centre, Sinkhorn and loss against float64 NumPy; what its schedules do to a step."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hummingbird import train
from hummingbird.errors import UserError
from hummingbird.models.pretrainer import ViewOutputs
from hummingbird.objectives import Batch, distillation
from hummingbird.objectives.schedules import build_schedules
from tests import reference, tiny
from tests.objectives.slopes import assert_gradient
from tests.objectives.test_every import TINY

DINO = TINY["dino"]
ERF = np.vectorize(math.erf)


def head(p, x):
    """The head in NumPy: GELU between linear layers, then cosines with the prototypes."""
    for i in range(3):
        x = reference.dense(p[f"layer_{i}"], x if i == 0 else 0.5 * x * (1 + ERF(x / np.sqrt(2))))
    kernel = p["prototypes"]["kernel"]
    return reference.unit(x) @ (kernel / np.linalg.norm(kernel, axis=0))


def dino_loss(student, teacher, tau):
    """Eq. 3, averaged: student logits [B, V, K], teacher probabilities [B, 2, K]."""
    terms = []
    for g in range(teacher.shape[1]):
        for v in range(student.shape[1]):
            if g != v:
                terms.append(-np.sum(teacher[:, g] * np.log(reference.softmax(student[:, v] / tau)), axis=-1).mean())
    return np.mean(terms)


def network(params, outputs):
    return tiny.network(params, {}, outputs)


sinkhorn = jax.jit(distillation.sinkhorn)


def outputs(pooled):
    pooled = jnp.asarray(pooled, jnp.float32)
    return ViewOutputs(pooled[..., :1], pooled, pooled[..., :1], {})


def test_the_loss_is_equation_3_in_value_and_gradient_and_moves_the_centre_by_equation_4():
    objective = tiny.program(1, **DINO).algorithm.objective
    rng = np.random.default_rng(0)
    theta, xi = (tiny.drawn_heads(objective, seed=i).params for i in (0, 1))
    views, local, target, centre = (rng.normal(size=s) for s in ((6, 2, 32), (6, 3, 32), (6, 2, 32), (16,)))
    run = Batch({}, jnp.zeros(6, jnp.int32))

    @jax.jit
    def ours(theta, views, local, trained):
        schedules = {"prototypes": trained, "teacher_temperature": 0.07}
        online = network(theta, {"global": outputs(views), "local": outputs(local)})
        teacher = network(xi, {"global": outputs(target)})
        loss = objective.loss(online, teacher, run, {"centre": centre.astype(np.float32)}, schedules)
        return loss.value, loss.extra["centre"]

    def independent(at):
        theta, views, local = at
        student = head(theta["head"], np.concatenate([views, local], axis=1))
        teacher = reference.softmax((head(exact_xi["head"], target) - centre) / 0.07)
        return dino_loss(student, teacher, 0.1)

    exact_xi = jax.tree.map(lambda x: np.asarray(x, np.float64), xi)
    at = (theta, views.astype(np.float32), local.astype(np.float32))
    (value, moved), gradients = jax.value_and_grad(ours, (0, 1, 2), has_aux=True)(*at, 1.0)
    (same, _), frozen = jax.value_and_grad(ours, has_aux=True)(*at, 0.0)
    at = jax.tree.map(lambda x: np.asarray(x, np.float64), at)
    assert float(value) == pytest.approx(independent(at), rel=1e-5)
    assert_gradient(independent, at, gradients)
    mean = head(exact_xi["head"], target).mean(axis=(0, 1))
    assert same == value
    assert not np.any(frozen["head"].pop("prototypes")["kernel"])  # all else learns as before
    rest = {name: x for name, x in gradients[0]["head"].items() if name in frozen["head"]}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), frozen["head"], rest)
    np.testing.assert_allclose(moved, 0.9 * centre + 0.1 * mean, atol=1e-5)


def test_sinkhorn_is_that_of_swav_in_float64():
    logits = np.random.default_rng(1).normal(size=(12, 5))
    q = np.exp(logits / 0.3).T  # [K, N]
    q /= q.sum()
    for _ in range(3):
        q /= q.sum(axis=1, keepdims=True) * 5
        q /= q.sum(axis=0, keepdims=True) * 12
    np.testing.assert_allclose(sinkhorn(logits.astype(np.float32), 0.3), (12 * q).T, rtol=1e-4)
    # Samples without weight do not count.
    weights = np.array([1.0] * 7 + [0.0] * 5)
    some = sinkhorn(logits.astype(np.float32), 0.3, weights)[:7]
    np.testing.assert_allclose(some, sinkhorn(logits[:7].astype(np.float32), 0.3), rtol=1e-5)
    nothing = sinkhorn(logits.astype(np.float32), 0.3, np.zeros(12))
    np.testing.assert_allclose(nothing.sum(axis=1), 1, rtol=1e-5)


def test_many_iterations_of_sinkhorn_give_every_prototype_an_equal_share():
    logits = np.random.default_rng(2).normal(size=(40, 4)).astype(np.float32)
    q = distillation.sinkhorn(logits, 0.5, iterations=10)
    np.testing.assert_allclose(q.sum(axis=0), 10, rtol=1e-3)


def test_temperature_warms_up_and_prototypes_are_frozen_for_their_epochs():
    config = tiny.tiny_config(**{"objective.name": "dino", "dino.warmup_epochs": 2.0, "dino.frozen_epochs": 1.0})
    schedules = build_schedules(config, total_steps=100, steps_per_epoch=10)
    temperature, trained = schedules["teacher_temperature"], schedules["prototypes"]
    assert [round(float(temperature(s)), 4) for s in (0, 10, 20, 90)] == [0.04, 0.055, 0.07, 0.07]
    assert [float(trained(s)) for s in (0, 9, 10, 50)] == [0, 0, 1, 1]


def test_a_supervised_part_is_refused_by_a_line():
    with pytest.raises(UserError, match=r"supervised.weight: objective.name=dino has no supervised part; use 0"):
        train.build_program(tiny.tiny_config(**DINO, **{"supervised.weight": 0.1}), 64)
    with pytest.raises(UserError, match=r"dino.prototypes: 1 is not accepted, expected an integer >= 2"):
        tiny.tiny_config(**DINO | {"dino.prototypes": 1})
