"""BYOL, SimSiam and MoCo v3: losses against NumPy float64, and their steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hummingbird as hb
from hummingbird import train
from hummingbird.errors import UserError
from hummingbird.models.pretrainer import ViewOutputs
from hummingbird.objectives import Batch
from tests import reference, tiny
from tests.directional import assert_same_value_and_gradient

TAU = 0.3
NAMES = ("byol", "simsiam", "mocov3")


def network(heads, params, pooled):
    outputs = {"global": ViewOutputs(pooled[..., :1], pooled, pooled[..., :1], {})}
    return tiny.network(params, heads.stats, outputs)


def by_view(head, params, x):
    return np.stack([head(params, x[:, view]) for view in (0, 1)], axis=1)


def byol(params, pooled, target_params, target_pooled):
    """Eq. 2 of Grill et al., in both directions."""
    head = reference.mlp_head
    q = by_view(head, params["predictor"], by_view(head, params["projector"], pooled))
    z = by_view(head, target_params["projector"], target_pooled)
    distance = lambda a, b: np.mean(np.sum((reference.unit(a) - reference.unit(b)) ** 2, axis=-1))
    return distance(q[:, 0], z[:, 1]) + distance(q[:, 1], z[:, 0])


def simsiam(params, pooled, target_params, target_pooled):
    """Eq. 4 of Chen and He; the targets are given, because no gradient passes through them."""
    z = by_view(reference.normed_head, params["projector"], pooled)
    p = by_view(reference.mlp_head, params["predictor"], z)
    z = by_view(reference.normed_head, target_params["projector"], target_pooled)
    d = lambda p, z: -np.mean(np.sum(reference.unit(p) * reference.unit(z), axis=-1))
    return d(p[:, 0], z[:, 1]) / 2 + d(p[:, 1], z[:, 0]) / 2


def mocov3(params, pooled, target_params, target_pooled):
    """Algorithm 1 of Chen, Xie and He."""
    head = reference.normed_head
    q = by_view(head, params["predictor"], by_view(head, params["projector"], pooled))
    k = by_view(head, target_params["projector"], target_pooled)

    def ctr(q, k):
        logits = reference.unit(q) @ reference.unit(k).T / TAU
        return 2 * TAU * np.mean([-np.log(reference.softmax(row)[i]) for i, row in enumerate(logits)])

    return ctr(q[:, 0], k[:, 1]) + ctr(q[:, 1], k[:, 0])


@pytest.mark.long
@pytest.mark.parametrize("independent", [byol, simsiam, mocov3])
def test_a_loss_equals_its_papers_in_value_and_gradient(independent):
    objective = tiny.program(1, **{"objective.name": independent.__name__}).algorithm.objective
    heads, others = (tiny.drawn_heads(objective, seed=i) for i in (0, 1))
    pooled, target_pooled = np.random.default_rng(0).normal(size=(2, 6, 2, 32))
    batch = Batch({}, jnp.zeros(6, jnp.int32))
    if not objective.has_target:
        others, target_pooled = heads, pooled

    def ours(params, pooled):
        target = network(others, others.params, jnp.float32(target_pooled)) if objective.has_target else None
        return objective.loss(network(heads, params, pooled), target, batch, {}, {"temperature": TAU}).value

    fixed = jax.tree.map(lambda x: np.asarray(x, np.float64), (others.params, target_pooled))
    assert_same_value_and_gradient(ours, lambda *given: independent(*given, *fixed), heads.params, pooled)


def test_the_losses_by_hand():
    eye = np.eye(2, dtype=np.float32)
    assert float(hb.objectives.regression(2 * eye, eye)) == pytest.approx(0.0, abs=1e-6)
    assert float(hb.objectives.regression(eye, -eye)) == pytest.approx(4.0)
    assert float(hb.objectives.negative_cosine(eye, -3 * eye)) == pytest.approx(1.0)
    np.testing.assert_allclose(hb.objectives.info_nce(eye, 2 * eye, 0.2), 0.4 * np.log(1 + np.exp(-5)), rtol=1e-5)


def test_mocov3_is_hummingbirds_loss_at_another_scale():
    q, k = np.random.default_rng(1).normal(size=(2, 5, 4)).astype(np.float32)
    np.testing.assert_allclose(
        hb.objectives.info_nce(q, k, 0.5), hb.objectives.contrastive(q, k, 0.5), rtol=1e-6
    )  # 2 tau = 1


# What they share with the others is tested there: context in test_train_step.py, queues in test_densecl.py.
@pytest.mark.slow
@pytest.mark.program
@pytest.mark.parametrize("name", NAMES)
def test_devices_and_micro_batches_do_not_change_loss_and_gradient(name):
    changes = {"objective.name": name, "encoder.freeze_patches": name == "mocov3"}
    if name != "byol":  # one of them with context
        changes |= {"context.bank_length": 0, "pooling": "mean"}
    one, split = tiny.gradient(1, **changes), tiny.gradient(4, micro_batches=2, **changes)
    tiny.assert_same_gradient(one, split, zero=("pool.value.bias",))
    assert ("value_head" in one[1]) == ("mask" in one[1].get("pool", {})) == (name == "byol")
    encoder = one[1]["encoder"]
    assert np.any(encoder["positions"])
    assert np.any(encoder["patch_embed"]["kernel"]) == (name != "mocov3")  # frozen


@pytest.mark.parametrize("name", NAMES)
def test_labels_are_refused_by_a_line(name):
    with pytest.raises(UserError, match=rf"supervised.weight: objective.name={name} has no supervised part"):
        train.build_program(tiny.tiny_config(**{"objective.name": name, "supervised.weight": 0.1}), 64)
