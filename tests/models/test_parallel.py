"""Each device encodes its own images: results and gradients are those of one device, and little crosses devices."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from hummingbird.config.pretrain import Context
from hummingbird.devices import hlo
from hummingbird.devices import mesh as meshes
from hummingbird.models import bank_attention, context
from hummingbird.models.network import Network
from hummingbird.models.parallel import on_mesh
from hummingbird.train_step import in_micro_batches
from tests import tiny

RNG = np.random.default_rng(0)
TOKENS, KEYS, VALUES = (RNG.normal(size=shape).astype(np.float32) for shape in ((32, 16), (3, 8, 16), (3, 8, 16)))
KERNEL = RNG.normal(size=(16, 16)).astype(np.float32)
ROWS, IMAGES = PartitionSpec(None, meshes.BATCH), PartitionSpec(meshes.BATCH)


def mesh_of(*shape):
    devices = np.asarray(jax.devices()[: shape[0] * shape[1]]).reshape(shape)
    return Mesh(devices, meshes.BATCH, axis_types=(AxisType.Auto,) * 2)


def loss_of(mesh, neighbours=0, parts=1, dtype="float32"):
    """Two networks multiply each token by a kernel and attend to the bank; as a function of kernel and values."""
    attention = bank_attention.build_bank_attention(Context(bank_length=24, temperature=0.1, neighbours=neighbours))
    model = tiny.program(1).model.clone(dtype=jnp.dtype(dtype))

    def encode(networks, key, tokens):
        def part(tokens):
            for each in networks:
                moved = tokens @ each.params["encoder"]["dense"]["kernel"]
                tokens = context.contextualise(moved, each.keys, each.values, 0.2, attention)[0]
            return tokens

        return in_micro_batches(part, parts, tokens)

    def loss(kernel, values, tokens, keys):
        keys = context.unit_keys(keys, jnp.float32)
        bank = context.ContextBank(keys, jnp.zeros(keys.shape[:2], jnp.int32), jnp.int32(0))
        online = Network(model, {"encoder": {"dense": {"kernel": kernel}}}, {}, bank, keys, values)
        target = dataclasses.replace(online, values=2 * values)
        return jnp.sum(jnp.sin(on_mesh(encode, mesh)([online, target], jax.random.key(0), tokens)))

    specs = (meshes.parameter_spec(KERNEL.shape, mesh), ROWS, IMAGES, ROWS)
    layout = tuple(NamedSharding(mesh, spec) for spec in specs)
    step = jax.jit(jax.value_and_grad(loss, (0, 1)), in_shardings=layout)
    return step.lower(KERNEL, VALUES, TOKENS, KEYS)


@pytest.fixture(autouse=True)
def all_parameters_are_split(monkeypatch):
    monkeypatch.setattr(meshes, "MIN_SHARDED", 1)


@functools.cache
def on_one_device(neighbours):
    return jax.device_get(loss_of(mesh_of(1, 1), neighbours).compile()(KERNEL, VALUES, TOKENS, KEYS))


@pytest.mark.parametrize(("shape", "neighbours", "parts"), [((4, 1), 0, 1), ((2, 2), 0, 4), ((2, 2), 5, 1)])
def test_losses_and_gradients_are_those_of_one_device(shape, neighbours, parts):
    found = loss_of(mesh_of(*shape), neighbours, parts).compile()(KERNEL, VALUES, TOKENS, KEYS)
    jax.tree.map(lambda g, w: np.testing.assert_allclose(g, w, atol=1e-4), found, on_one_device(neighbours))


@pytest.mark.parametrize("parts", [1, 4])
def test_gradients_and_bank_cross_devices_once_whatever_the_number_of_micro_batches(parts):
    found = hlo.collectives(loss_of(mesh_of(4, 1), parts=parts).compile().as_text())
    sizes = {name: entry["bytes"] for name, entry in found.items()}
    assert sizes["all-gather"] == 3 * KEYS.nbytes  # keys, and values of both networks
    assert sizes["reduce-scatter"] == 2 * VALUES.nbytes // 4
    assert sizes["all-reduce"] <= 2 * KERNEL.nbytes + 4  # one gradient of each network, and the loss


def test_kernels_cross_devices_in_the_compute_type_and_their_gradients_in_float32():
    text = loss_of(mesh_of(1, 4), dtype="bfloat16").as_text()
    crossings = [line for line in text.splitlines() if '"stablehlo.all_gather"' in line and "16x16xbf16" in line]
    assert len(crossings) == 2
    summed = text.split('"stablehlo.reduce_scatter"')
    assert sum("(tensor<16x16xf32>) -> tensor<4x16xf32>" in part for part in summed[1:]) == 2
