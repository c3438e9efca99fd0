"""One step of the algorithm: what it changes, by how much, and that the devices do not matter."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from hummingbird.devices import mesh
from hummingbird.run import checkpoint
from tests import reference, tiny

SLOW = pytest.mark.slow


def run(devices, steps=3, start=None, **changes):
    """The state after some steps and the metrics of each; `start`: the state before the first one, else a new one."""
    program = tiny.program(devices, **changes)
    history = []
    if start is None:
        state = program.fill(program.init(), tiny.placed(program, 99), jnp.int32(0))
        state = program.fill(state, tiny.placed(program, 98), jnp.int32(1))
    else:
        state = jax.device_put(start, program.shardings)
    for step in range(steps):
        state, metrics = program.step(state, tiny.placed(program, step))
        history.append(jax.device_get(metrics))
    return jax.device_get(state), history


@pytest.fixture(scope="module")
def start():
    """A state that programs of other settings can begin with: to draw and fill it, each would compile that, too."""
    return run(1, steps=0)[0]


@pytest.fixture(scope="module")
def one_device():
    return run(1)


def assert_same_run(history, other):
    """Losses and gradient norms of every step agree: those of later steps tell of the parameters in between.

    Parameters themselves cannot be compared: a bias before batch norm or softmax has no gradient but rounding errors,
    of which Adam makes steps of full size.
    """
    for ours, theirs in zip(history, other, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
        assert ours["gradient_norm"] == pytest.approx(theirs["gradient_norm"], rel=1e-3)
        assert ours["bank_entropy"] == pytest.approx(theirs["bank_entropy"], rel=1e-4)


@pytest.mark.program
def test_the_number_of_devices_does_not_change_the_result(one_device):
    state, history = one_device
    other, other_history = run(8)
    assert_same_run(history, other_history)
    np.testing.assert_allclose(state.bank.keys, other.bank.keys, atol=1e-3)
    np.testing.assert_array_equal(state.bank.labels, other.bank.labels)


@pytest.mark.program
def test_sharded_parameters_give_the_same_result(start, supervised, monkeypatch):
    monkeypatch.setattr(mesh, "MIN_SHARDED", 1)  # else the tiny arrays stay whole
    sharded = {"mesh.fsdp": 4, "supervised.weight": 0.5}
    program = tiny.program(8, **sharded)
    assert program.shardings.online["projector"]["hidden"]["kernel"].spec == PartitionSpec("fsdp")
    _, history = run(8, start=start, **sharded)
    assert_same_run(supervised, history)
    for ours, theirs in zip(supervised, history, strict=True):
        assert ours["loss_retrieval"] == pytest.approx(theirs["loss_retrieval"], rel=1e-3)


def test_the_same_run_twice_is_equal_to_the_bit(one_device):
    again, _ = run(1)
    different = jax.tree.map(lambda a, b: not np.array_equal(a, b), one_device[0], again)
    assert not any(jax.tree.leaves(different)), different
    assert len(jax.tree.leaves(different)) > 20  # the whole state was compared


def test_target_is_the_moving_average_of_the_online_network():
    program, decay = tiny.program(1), tiny.tiny_config().ema_decay
    state = program.fill(program.init(), tiny.placed(program, 0), jnp.int32(0))
    for step in (1, 2):  # the learning rate of the first step is 0, so that online and target stay equal
        before = jax.device_get(state.target)
        state, _ = program.step(state, tiny.placed(program, step))
    assert set(state.online) - set(before) == {"predictor"}
    online = {name: jax.device_get(state.online[name]) for name in before}
    expected = jax.tree.map(lambda xi, theta: decay * xi + (1 - decay) * theta, before, online)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), state.target, expected)
    moved = max(np.abs(a - b).max() for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(online), strict=True))
    assert (1 - decay) * moved > 1e-5  # what the average takes from it shows


def test_the_bank_takes_the_mean_target_tokens_of_the_first_view_after_the_step():
    program = tiny.program(1)
    state = program.fill(program.init(), tiny.placed(program, 0), jnp.int32(0))
    before = jax.device_get(state)
    batch = tiny.batch(1)
    state, _ = program.step(state, tiny.placed(program, 1))
    encode = jax.jit(functools.partial(program.model.apply, method="encode"))
    tokens = encode({"params": before.target}, tiny.augmented(batch)[:, 0]).patches
    written = int(before.bank.cursor)
    np.testing.assert_allclose(state.bank.keys[written], tokens.mean(axis=1), atol=1e-5)
    np.testing.assert_array_equal(state.bank.labels[written], batch.labels)
    kept = 1 - written  # the tiny bank has two slots
    np.testing.assert_array_equal(state.bank.keys[kept], before.bank.keys[kept])


@pytest.mark.program
def test_stored_values_are_those_of_the_network_that_wrote_the_keys():
    program = tiny.program(2, **{"context.values": "stored"})
    assert "bank.values" in checkpoint.to_arrays(program.state)
    assert "bank.values" not in checkpoint.to_arrays(tiny.program(1).state)  # as before there was a choice
    state = program.fill(program.init(), tiny.placed(program, 0), jnp.int32(0))
    before = jax.device_get(state)
    state, metrics = program.step(state, tiny.placed(program, 1))
    state = jax.device_get(state)
    written = int(before.bank.cursor)
    phi = jax.tree.map(np.float64, before.target["value_head"])
    for bank, slot in ((before.bank, 1 - written), (state.bank, 1 - written), (state.bank, written)):
        want = reference.mlp_head(phi, np.float64(bank.keys[slot]))
        np.testing.assert_allclose(bank.values[slot], want, atol=1e-3 * np.abs(want).max())
    assert np.isfinite(metrics["loss"])
    # No gradient reaches phi: weight decay spares the scale of its batch norm.
    for name in ("scale", "bias"):
        moved = state.online["value_head"]["norm"][name] - before.online["value_head"]["norm"][name]
        assert not np.any(moved)


@pytest.fixture(scope="module")
def supervised(start):
    return run(1, start=start, **{"supervised.weight": 0.5})[1]


@pytest.mark.program
def test_supervised_retrieval_adds_its_cross_entropy(one_device, supervised):
    plain, plus = one_device[1][0], supervised[0]
    assert plus["loss"] == pytest.approx(plain["loss_ssl"] + 0.5 * plus["loss_retrieval"], rel=1e-4)
    assert plus["loss_retrieval"] > 0


@pytest.mark.program
@pytest.mark.parametrize(
    ("devices", "parts", "changes"), [(1, 4, {}), pytest.param(4, 2, {"context.neighbours": 8}, marks=SLOW)]
)
def test_micro_batches_give_the_losses_and_gradients_of_the_whole_batch(start, devices, parts, changes):
    whole, history = run(1, 1, start, **changes)
    split, split_history = run(devices, 1, start, micro_batches=parts, **changes)
    assert_same_run(history, split_history)
    for name in ("bank", "online_stats", "target_stats"):  # in the batch's order; of the batch, not of its parts
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=2e-3), getattr(whole, name), getattr(split, name)
        )
    # Adam divides the gradient's size away; its first moment after a step is a tenth of it.
    for ours, theirs in zip(jax.tree.leaves(whole.opt_state), jax.tree.leaves(split.opt_state), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-4)


@pytest.mark.slow
@pytest.mark.program
def test_micro_batches_need_less_memory():
    def temporary(parts):
        program = tiny.program(1, micro_batches=parts)
        return program.step.lower(program.state, program.batch).compile().memory_analysis().temp_size_in_bytes

    assert temporary(4) < 0.6 * temporary(1)


@pytest.mark.slow
@pytest.mark.program
def test_a_linear_classifier_takes_the_place_of_retrieval_without_a_bank():
    classifier = {"supervised.weight": 0.5, "supervised.objective": "classifier", "supervised.classes": 5}
    _, (both,) = run(1, steps=1, **classifier, **{"context.bank_length": 0})
    assert both["loss"] == pytest.approx(both["loss_ssl"] + 0.5 * both["loss_classifier"], rel=1e-4)
    alone = {**classifier, "contrastive.weight": 0.0, "context.bank_length": 0, "pooling": "cls"}
    state, history = run(1, steps=4, **alone)  # the supervised ViT
    assert "loss_ssl" not in history[0]
    assert history[0]["loss_classifier"] == pytest.approx(both["loss_classifier"], rel=0.3)
    assert history[0]["top1"] == history[0]["classifier_top1"]
    assert state.online["classifier"]["kernel"].shape == (32, 5)


def test_a_loss_that_is_not_finite_is_reported():
    program = tiny.program(1)
    state = program.init()
    state = state.replace(online=jax.tree.map(lambda x: x * jnp.nan, state.online))
    _, metrics = program.step(state, tiny.placed(program, 0))
    assert not metrics["finite"]
