"""Learning rate and weight decay by step, and what decays."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hummingbird.errors import UserError
from hummingbird.objectives.optimizer import build_learning_rate, build_optimizer, peak_learning_rate
from tests import tiny


def test_learning_rate_warms_up_and_falls_to_zero_along_a_cosine():
    config = tiny.tiny_config(**{"optimizer.warmup_steps": 10, "optimizer.learning_rate": 1e-3})
    schedule = build_learning_rate(config.optimizer, 110, 50, 16)
    assert [float(schedule(s)) for s in (0, 5, 10, 60, 110)] == pytest.approx([0, 5e-4, 1e-3, 5e-4, 0], abs=1e-9)


def test_the_learning_rate_may_end_above_zero_and_else_stays_equal_to_the_bit():
    settings = tiny.tiny_config(**{"optimizer.warmup_steps": 10, "optimizer.learning_rate": 1e-3}).optimizer
    schedule = build_learning_rate(dataclasses.replace(settings, final_learning_rate=1e-4), 110, 50, 16)
    exact = [1e-4 + 9e-4 * (1 + np.cos(np.pi * t)) / 2 for t in (0, 0.25, 0.5, 1)]
    assert [float(schedule(s)) for s in (10, 35, 60, 110)] == pytest.approx(exact)
    before = optax.warmup_cosine_decay_schedule(0.0, 1e-3, 10, 110)
    usual = build_learning_rate(settings, 110, 50, 16)
    np.testing.assert_array_equal([usual(s) for s in range(0, 111, 10)], [before(s) for s in range(0, 111, 10)])


def test_a_final_learning_rate_above_the_peak_is_refused_by_a_line():
    settings = tiny.tiny_config(**{"optimizer.learning_rate": 1e-3, "optimizer.final_learning_rate": 1e-2}).optimizer
    with pytest.raises(UserError, match=r"optimizer.final_learning_rate: 0.01 is above the peak of 0.001; use less"):
        build_learning_rate(settings, 110, 50, 16)


def test_a_warm_up_longer_than_the_run_is_cut_with_a_warning(caplog):
    config = tiny.tiny_config(**{"optimizer.warmup_steps": None, "optimizer.warmup_epochs": 10.0})
    schedule = build_learning_rate(config.optimizer, 5, 50, 16)
    assert "warm-up of 500 steps is longer than the run of 5" in caplog.text
    assert float(schedule(4)) == pytest.approx(config.optimizer.learning_rate)


def test_the_learning_rate_grows_with_the_batch_if_it_has_a_reference():
    settings = tiny.tiny_config(**{"optimizer.learning_rate": 1.5e-4, "optimizer.warmup_steps": 0}).optimizer
    assert peak_learning_rate(settings, 4096) == 1.5e-4
    scaled = dataclasses.replace(settings, reference_batch=256)
    assert float(build_learning_rate(scaled, 10, 50, 4096)(0)) == pytest.approx(1.5e-4 * 4096 / 256)


@pytest.mark.parametrize(("limit", "norm"), [(1.0, 1.0), (None, 5.0)])
def test_the_gradient_is_clipped_unless_there_is_no_limit(limit, norm):
    settings = dataclasses.replace(tiny.tiny_config().optimizer, clip_norm=limit)
    optimizer = build_optimizer(settings, optax.constant_schedule(1.0), 0.0)
    params = {"bias": jnp.zeros(2)}
    _, state = optimizer.update({"bias": jnp.array([3.0, 4.0])}, optimizer.init(params), params)
    (moments,) = (x for x in jax.tree.leaves(optax.tree.get(state, "mu")))
    np.testing.assert_allclose(np.linalg.norm(moments) / (1 - settings.b1), norm, rtol=1e-5)


def test_weight_decay_leaves_biases_norms_positions_and_cls_alone():
    settings = tiny.tiny_config(**{"optimizer.warmup_steps": 0}).optimizer
    optimizer = build_optimizer(settings, build_learning_rate(settings, 10, 50, 16), 10.0)
    params = {"kernel": jnp.ones(2), "bias": jnp.ones(2), "scale": jnp.ones(2), "positions": jnp.ones(2)}
    updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params)
    assert np.all(updates["kernel"] < 0)
    assert not any(np.any(updates[name]) for name in ("bias", "scale", "positions"))


def test_what_is_frozen_does_not_decay():
    settings = tiny.tiny_config(**{"optimizer.warmup_steps": 0}).optimizer
    optimizer = build_optimizer(settings, optax.constant_schedule(1.0), 0.1, frozen=("patch_embed",))
    params = {"patch_embed": {"kernel": jnp.ones(2)}, "block_00": {"kernel": jnp.ones(2)}}
    updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params)
    assert not np.any(updates["patch_embed"]["kernel"])
    assert np.all(updates["block_00"]["kernel"] < 0)


def test_weight_decay_may_follow_a_schedule():
    settings = tiny.tiny_config().optimizer
    optimizer = build_optimizer(settings, optax.constant_schedule(1.0), optax.linear_schedule(0.0, 1.0, 1))
    params, nothing = {"kernel": jnp.ones(2)}, {"kernel": jnp.zeros(2)}
    state = optimizer.init(params)
    updates, state = optimizer.update(nothing, state, params)
    assert not np.any(updates["kernel"])
    updates, state = optimizer.update(nothing, state, params)
    np.testing.assert_allclose(updates["kernel"], -1.0)
