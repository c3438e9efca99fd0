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
CHUNK = KEYS.shape[1]  # entries, so that a bank is read in as many chunks as it has slots
KERNEL = RNG.normal(size=(16, 16)).astype(np.float32)
ROWS, IMAGES = PartitionSpec(None, meshes.BATCH), PartitionSpec(meshes.BATCH)


def mesh_of(*shape):
    devices = np.asarray(jax.devices()[: shape[0] * shape[1]]).reshape(shape)
    return Mesh(devices, meshes.BATCH, axis_types=(AxisType.Auto,) * 2)


def loss_of(mesh, neighbours=0, parts=1, dtype="float32", slots=3):
    """Two networks multiply each token by a kernel and attend to the bank; as a function of kernel and values."""
    settings = Context(bank_length=slots * CHUNK, temperature=0.1, chunk=CHUNK, neighbours=neighbours)
    attention = bank_attention.build_bank_attention(settings)
    model = tiny.program(1).model.clone(dtype=jnp.dtype(dtype))

    def encode(networks, key, tokens):
        def part(tokens):
            for each in networks:
                moved = tokens @ each.params["encoder"]["dense"]["kernel"]
                tokens, read = context.contextualise(moved, each.keys, each.values, 0.2, attention)
            return tokens, read

        return in_micro_batches(part, parts, tokens)

    def loss(kernel, values, tokens, keys):
        keys = context.unit_keys(keys, jnp.float32)
        bank = context.ContextBank(keys, jnp.zeros(keys.shape[:2], jnp.int32), jnp.int32(0))
        online = Network(model, {"encoder": {"dense": {"kernel": kernel}}}, {}, bank, keys, values)
        target = dataclasses.replace(online, values=2 * values)
        tokens, read = on_mesh(encode, mesh)([online, target], jax.random.key(0), tokens)
        return jnp.sum(jnp.sin(tokens)), read

    specs = (meshes.parameter_spec(KERNEL.shape, mesh), ROWS, IMAGES, ROWS)
    layout = tuple(NamedSharding(mesh, spec) for spec in specs)
    step = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True), in_shardings=layout)
    bank = jax.ShapeDtypeStruct((slots, *KEYS.shape[1:]), jnp.float32)
    return step.lower(KERNEL, bank, TOKENS, bank)


@pytest.fixture(autouse=True)
def all_parameters_are_split(monkeypatch):
    monkeypatch.setattr(meshes, "MIN_SHARDED", 1)


@functools.cache
def on_one_device(neighbours):
    return jax.device_get(loss_of(mesh_of(1, 1), neighbours).compile()(KERNEL, VALUES, TOKENS, KEYS))


@pytest.mark.long
@pytest.mark.parametrize(
    ("shape", "neighbours", "parts"), [((4, 1), 0, 1), ((4, 1), 5, 4), ((2, 2), 0, 4), ((2, 2), 5, 1)]
)
def test_losses_gradients_and_what_tokens_read_are_those_of_one_device(shape, neighbours, parts):
    found = loss_of(mesh_of(*shape), neighbours, parts).compile()(KERNEL, VALUES, TOKENS, KEYS)
    jax.tree.map(lambda g, w: np.testing.assert_allclose(g, w, atol=2e-5), found, on_one_device(neighbours))


@pytest.mark.parametrize(("parts", "slots"), [(1, 3), (4, 3), (1, 16)])
def test_gradients_and_bank_cross_devices_once_and_not_once_a_micro_batch_or_chunk(parts, slots):
    found = hlo.collectives(loss_of(mesh_of(4, 1), parts=parts, slots=slots).compile().as_text())
    bank = slots * KEYS[0].nbytes
    assert found["all-gather"] == {"count": 3, "bytes": 3 * bank}  # keys, and values of both networks
    assert found["reduce-scatter"] == {"count": 2, "bytes": 2 * bank // 4}
    assert found["all-reduce"]["bytes"] <= 2 * KERNEL.nbytes + 4  # one gradient of each network, and the loss
    assert len(found) == 3


def test_kernels_cross_devices_in_the_compute_type_and_their_gradients_in_float32():
    text = loss_of(mesh_of(1, 4), dtype="bfloat16").as_text()
    crossings = [line for line in text.splitlines() if '"stablehlo.all_gather"' in line and "16x16xbf16" in line]
    assert len(crossings) == 2
    summed = text.split('"stablehlo.reduce_scatter"')
    assert sum("(tensor<16x16xf32>) -> tensor<4x16xf32>" in part for part in summed[1:]) == 2
