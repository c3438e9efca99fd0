"""SimCLR behind the same door: its loss, its step without a target network, resuming, plan and export."""

import functools
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hummingbird import train
from hummingbird.commands import plan
from hummingbird.encoder import load_encoder
from hummingbird.errors import UserError
from hummingbird.models.pretrainer import ViewOutputs
from hummingbird.objectives import Batch
from hummingbird.run import checkpoint
from hummingbird.weights import export_weights, warm_start
from tests import reference, tiny

SIMCLR = {"objective.name": "simclr"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A tiny run of four steps with checkpoints at 0, 2 and 4."""
    workdir = tmp_path_factory.mktemp("simclr") / "run"
    return workdir, jax.device_get(tiny.pretrain(workdir, **SIMCLR))


def test_the_loss_is_nt_xent_of_projections_normalised_over_both_views_in_value_and_gradient():
    objective = tiny.program(1, **SIMCLR).algorithm.objective
    heads = tiny.drawn_heads(objective)
    pooled = np.random.default_rng(0).normal(size=(6, 2, 32))
    tau = 0.3

    def ours(params, pooled):
        outputs = {"global": ViewOutputs(pooled[..., :1], pooled, pooled[..., :1], {})}
        network = tiny.network(params, heads.stats, outputs)
        batch = Batch({}, jnp.zeros(6, jnp.int32))
        return objective.loss(network, None, batch, {}, {"temperature": tau}).value

    def independent(params, pooled):
        z = reference.mlp_head(params["projector"], pooled)
        return reference.nt_xent(z[:, 0], z[:, 1], tau)

    value, gradients = jax.jit(jax.value_and_grad(ours, (0, 1)))(heads.params, pooled.astype(np.float32))
    exact = jax.tree.map(lambda x: np.asarray(x, np.float64), heads.params), pooled
    assert float(value) == pytest.approx(independent(*exact), rel=1e-5)
    leaves, tree = jax.tree.flatten(exact)
    rng = np.random.default_rng(3)
    for i, gradient in enumerate(jax.tree.leaves(gradients)):
        direction = rng.normal(size=leaves[i].shape)
        at = []
        for e in (1e-6, -1e-6):
            moved = [x + e * direction if j == i else x for j, x in enumerate(leaves)]
            at.append(independent(*jax.tree.unflatten(tree, moved)))
        slope = (at[0] - at[1]) / 2e-6
        assert np.sum(np.asarray(gradient, np.float64) * direction) == pytest.approx(slope, rel=1e-2, abs=1e-3)


@pytest.mark.program
def test_there_is_no_target_network_and_the_online_one_fills_the_bank():
    program = tiny.program(1, **SIMCLR)
    state = program.fill(program.init(), tiny.placed(program, 0), jnp.int32(0))
    assert not jax.tree.leaves((state.target, state.target_stats))
    before = jax.device_get(state)
    batch = tiny.batch(1)
    state, metrics = program.step(state, tiny.placed(program, 1))
    encode = jax.jit(functools.partial(program.model.apply, method="encode"))
    tokens = encode({"params": before.online}, tiny.augmented(batch)[:, 0]).patches
    np.testing.assert_allclose(state.bank.keys[int(before.bank.cursor)], tokens.mean(axis=1), atol=1e-5)
    assert "ema_distance" not in metrics
    assert metrics["loss"] == metrics["loss_ssl"]


@pytest.mark.program
def test_stopped_and_resumed_equals_never_stopped(finished, tmp_path):
    workdir, expected = finished
    copy = shutil.copytree(workdir, tmp_path / "run")
    shutil.rmtree(checkpoint.steps(copy)[0])
    state = tiny.pretrain(copy, **SIMCLR)
    assert jax.tree.all(jax.tree.map(np.array_equal, jax.device_get(state), expected))


@pytest.mark.program
def test_its_encoder_is_loaded_and_exported_and_its_missing_target_is_named(finished, tmp_path):
    workdir, _ = finished
    images = np.zeros((1, 32, 32, 3), np.uint8)
    assert export_weights(str(workdir), str(tmp_path / "timm"))["format"] == "timm"
    np.testing.assert_allclose(
        load_encoder(str(tmp_path / "timm"))(images), load_encoder(str(workdir))(images), atol=1e-4
    )
    for use in (
        lambda: load_encoder(str(workdir), "target"),
        lambda: export_weights(str(workdir), "x", network="target"),
    ):
        with pytest.raises(UserError, match="no target network"):
            use()


@pytest.mark.program
def test_a_run_with_a_target_network_starts_from_one_without_and_the_other_way_round(finished):
    workdir, state = finished
    program, other = (tiny.program(1, **changes) for changes in (SIMCLR, {}))
    given = warm_start.read(str(workdir), other.model.encoder, checkpoint.to_arrays(other.state))
    np.testing.assert_array_equal(given.arrays["target.encoder.norm.scale"], state.online["encoder"]["norm"]["scale"])
    back = warm_start.read(str(workdir), program.model.encoder, checkpoint.to_arrays(program.state))
    assert not any(name.startswith("target.") for name in back.arrays)


@pytest.mark.slow
@pytest.mark.program
def test_plan_compiles_it():
    found = plan.plan(tiny.tiny_config(**SIMCLR), None)
    assert found["parameters"] > 0
    assert found["temporary_bytes"] > 0


def test_settings_that_do_not_fit_are_refused_by_a_line():
    with pytest.raises(UserError, match=r"supervised.weight: objective.name=simclr has no supervised part"):
        train.build_program(tiny.tiny_config(**SIMCLR, **{"supervised.weight": 0.1}), 64)
    with pytest.raises(
        UserError, match=r"objective.name: 'simclear' is not accepted, expected one of hummingbird, simclr"
    ):
        tiny.tiny_config(**{"objective.name": "simclear"})
