"""DenseCL: its loss and queues against NumPy float64, resuming, and settings that do not fit."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hummingbird import train
from hummingbird.errors import UserError
from hummingbird.models.pretrainer import ViewOutputs
from hummingbird.objectives import Batch
from hummingbird.objectives.densecl import average_grid, enqueue, matched
from hummingbird.run import checkpoint
from tests import reference, tiny
from tests.directional import assert_same_value_and_gradient

# Colours and blur are tested elsewhere and take long to compile.
PLAIN = {"augment.jitter_probability": 0.0, "augment.blur_probability": (0.0, 0.0)}
CHANGES = {
    "objective.name": "densecl",
    "densecl.queue_length": 32,
    "densecl.grid": 2,
    "context.bank_length": 0,
    **PLAIN,
}
TAU, BATCH = 0.3, 4
unit = reference.unit


def plain_head(p, x):
    return reference.dense(p["output"], np.maximum(reference.dense(p["hidden"], x), 0))


def densecl(params, pooled, places, target_params, target_pooled, target_places, queue, dense_queue):
    """Eq. 1 to 4 of Wang et al., image by image and place by place; also the keys that enter the queues."""
    q, r = unit(plain_head(params["projector"], pooled)), unit(plain_head(params["dense_projector"], places))
    k = unit(plain_head(target_params["projector"], target_pooled))
    t = unit(plain_head(target_params["dense_projector"], target_places))

    def nce(query, positive, negatives):
        scores = np.concatenate([[query @ positive], negatives @ query]) / TAU
        return np.log(np.sum(np.exp(scores))) - scores[0]

    whole = np.mean([nce(q[i], k[i], queue) for i in range(len(q))])
    dense = []
    for i in range(len(r)):
        for s in range(r.shape[1]):
            nearest = np.argmax([unit(places[i, s]) @ unit(other) for other in target_places[i]])
            dense.append(nce(r[i, s], t[i, nearest], dense_queue))
    return 0.5 * whole + 0.5 * np.mean(dense), k, unit(t.mean(axis=1))


@pytest.fixture(scope="module")
def given():
    """Objective, heads of both networks, and features of a batch."""
    objective = train.build_program(tiny.tiny_config(**CHANGES), 64, jax.devices()[:1]).algorithm.objective
    online, target = (tiny.drawn_heads(objective, seed=i) for i in (0, 1))
    rng = np.random.default_rng(0)
    pooled, places = rng.normal(size=(2, BATCH, 32)), rng.normal(size=(2, BATCH, 4, 32))
    return objective, online, target, pooled, places


def run_loss(objective, params, pooled, places, target, target_pooled, target_places, extra):
    def network(params, pooled, places):
        pooled, places = jnp.asarray(pooled, jnp.float32), jnp.asarray(places, jnp.float32)
        outputs = ViewOutputs(pooled[:, None], pooled[:, None], pooled[:, None, :1], {}, places[:, None])
        return tiny.network(params, {}, {"global": outputs})

    online = network(params, pooled, places)
    return objective.loss(
        online,
        network(target, target_pooled, target_places),
        Batch({}, jnp.zeros(BATCH, jnp.int32)),
        extra,
        {"temperature": TAU},
    )


def test_the_loss_equals_its_papers_in_value_and_gradient(given):
    objective, online, target, pooled, places = given
    others = (target.params, np.float32(pooled[1]), np.float32(places[1]))
    exact = jax.tree.map(lambda x: np.asarray(x, np.float64), (target.params, pooled[1], places[1]))
    queues = [np.asarray(online.extra[name], np.float64) for name in ("queue", "dense_queue")]
    assert_same_value_and_gradient(
        lambda *arrays: run_loss(objective, *arrays, *others, online.extra).value,
        lambda *arrays: densecl(*arrays, *exact, *queues)[0],
        online.params,
        pooled[0],
        places[0],
    )


def test_the_keys_of_a_batch_replace_the_oldest_ones_of_the_queues(given):
    objective, online, target, pooled, places = given
    single = lambda i: (np.float32(pooled[i]), np.float32(places[i]))
    extra = {**online.extra, "cursor": jnp.int32(28)}
    run = jax.jit(lambda extra: run_loss(objective, online.params, *single(0), target.params, *single(1), extra).extra)
    new = run(extra)
    exact = [jax.tree.map(lambda x: np.asarray(x, np.float64), heads.params) for heads in (online, target)]
    queues = [np.asarray(extra[name], np.float64) for name in ("queue", "dense_queue")]
    _, k, dense = densecl(exact[0], pooled[0], places[0], exact[1], pooled[1], places[1], *queues)
    assert int(new["cursor"]) == 0  # 28 + 4 of 32
    for name, keys in (("queue", k), ("dense_queue", dense)):
        np.testing.assert_allclose(new[name][28:], keys, atol=1e-6)
        np.testing.assert_array_equal(new[name][:28], extra[name][:28])


def test_places_are_means_of_their_tokens_and_are_matched_by_features():
    tokens = jnp.arange(36.0).reshape(1, 1, 36, 1)
    np.testing.assert_allclose(average_grid(tokens, 3)[0, 0, :, 0], [3.5, 5.5, 7.5, 15.5, 17.5, 19.5, 27.5, 29.5, 31.5])
    places = np.eye(3, dtype=np.float32)[None]
    swapped = places[:, [2, 0, 1]]
    np.testing.assert_allclose(matched(places, swapped, swapped), places)
    np.testing.assert_array_equal(enqueue(jnp.zeros((4, 1)), jnp.ones((2, 1)), jnp.int32(2))[:, 0], [0, 0, 1, 1])


@pytest.mark.program
def test_devices_and_micro_batches_do_not_change_loss_gradient_and_queues():
    one, split = tiny.gradient(1, **CHANGES), tiny.gradient(4, micro_batches=2, **CHANGES)
    tiny.assert_same_gradient(one, split)
    assert np.any(one[1]["dense_projector"]["output"]["kernel"])


@pytest.mark.slow
@pytest.mark.program
def test_a_resumed_run_equals_one_that_never_stopped_queues_included(tmp_path):
    done = jax.device_get(tiny.pretrain(tmp_path / "run", **CHANGES))
    assert int(done.extra["cursor"]) == 4 * 16 % 32
    shutil.rmtree(checkpoint.steps(tmp_path / "run")[0])
    resumed = tiny.pretrain(tmp_path / "run", **CHANGES)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(resumed), done)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"densecl.queue_length": 40}, r"densecl.queue_length: 40 is not a multiple of batch_size 16"),
        ({"densecl.grid": 3}, r"densecl.grid: 3 does not divide the 4 patches along a side"),
        ({"supervised.weight": 0.1}, r"supervised.weight: objective.name=densecl has no supervised part"),
        ({"augment.views": 1}, r"augment.views: objective.name=densecl compares two views"),
    ],
)
def test_settings_that_do_not_fit_are_refused_by_a_line(changes, said):
    with pytest.raises(UserError, match=said):
        train.build_program(tiny.tiny_config(**{**CHANGES, "context.bank_length": 32, **changes}), 64)
