"""One step of fitting a decoder: what moves, what does not, and that devices and micro-batches change nothing."""

import jax
import numpy as np
import pytest

from hummingbird.devices import mesh
from tests.decoders import small


def taken(program, params, batch, steps=1):
    """The state after some steps, and the metrics of the last."""
    frozen = jax.device_put(params, program.frozen_shardings) if program.frozen else {}
    state = program.init(params)
    placed = jax.tree.map(lambda x: mesh.to_global(program.mesh, np.asarray(x)), batch)
    for _ in range(steps):
        state, metrics = program.step(frozen, state, placed)
    return jax.device_get(state), jax.device_get(metrics)


@pytest.fixture(scope="module")
def one():
    """A step that trains the encoder too, on one device."""
    return taken(*small.program(batch_size=8, **small.TRAINED), small.batch())


@pytest.mark.long
def test_eight_devices_do_what_one_does(one):
    eight = taken(*small.program(devices=8, batch_size=8, **small.TRAINED), small.batch())
    np.testing.assert_allclose(eight[1]["loss"], one[1]["loss"], rtol=1e-5)
    np.testing.assert_allclose(eight[1]["gradient_norm"], one[1]["gradient_norm"], rtol=1e-4)
    assert jax.tree.structure(eight[0]) == jax.tree.structure(one[0])


@pytest.mark.long
def test_a_trained_encoder_moves_with_what_it_was_given(one):
    encoder = one[0].online["encoder"]
    assert encoder["block_01"]["attention"]["relative"].any()
    assert not np.array_equal(
        encoder["block_00"]["mlp"]["up"]["kernel"], small.vit().params["block_00"]["mlp"]["up"]["kernel"]
    )


def test_a_crop_without_labels_costs_nothing_and_moves_no_head():
    made, params = small.program(batch_size=8, **{"optimizer.weight_decay": 0.0, "decoder.name": "linear"})
    void = small.batch()._replace(labels=np.full((8, 32, 32), 255, np.int32))
    start = jax.device_get(made.init(params).online)
    state, metrics = taken(made, params, void)
    assert (metrics["loss"], metrics["gradient_norm"], bool(metrics["finite"])) == (0, 0, True)
    assert jax.tree.all(jax.tree.map(np.array_equal, state.online, start))


def test_micro_batches_average_the_gradient_of_their_parts():
    linear = {"decoder.name": "linear", "batch_size": 8}
    whole = taken(*small.program(**linear), small.batch())[1]
    parts = taken(*small.program(micro_batches=2, **linear), small.batch())[1]
    np.testing.assert_allclose(parts["loss"], whole["loss"], rtol=1e-5)
    np.testing.assert_allclose(parts["gradient_norm"], whole["gradient_norm"], rtol=1e-4)
