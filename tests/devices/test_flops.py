"""Operations match formulas worked out by hand, and count as often as they run."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from hummingbird.devices import flops


def shape(*sizes):
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


def test_a_product_is_two_operations_per_multiply_add():
    assert flops.count(lambda a, b: a @ b, shape(3, 5), shape(5, 7)) == 2 * 3 * 5 * 7
    assert flops.count(lambda a, b: jnp.einsum("bij,bkj->bik", a, b), shape(2, 3, 5), shape(2, 4, 5)) == 240


def test_the_gradient_of_a_product_costs_two_more():
    gradient = jax.grad(lambda a, b: jnp.sum(jnp.sin(a @ b)), (0, 1))
    assert flops.count(gradient, shape(3, 5), shape(5, 7)) == 3 * 2 * 3 * 5 * 7


def test_every_trip_of_a_loop_counts_also_inside_jit():
    def loop(x, w):
        return jax.lax.scan(lambda c, _: (jax.jit(lambda y: y @ w)(c), None), x, None, length=6)[0]

    assert flops.count(loop, shape(2, 4), shape(4, 4)) == 6 * 2 * 2 * 4 * 4


def test_a_recomputed_layer_is_counted_again():
    def layer(w, x):
        return jnp.sum(jnp.sin(jnp.sin(x @ w) @ w))

    once = 2 * 3 * 4 * 4
    assert flops.count(jax.grad(layer), shape(4, 4), shape(3, 4)) == 5 * once  # x needs no gradient
    assert flops.count(jax.grad(jax.checkpoint(layer)), shape(4, 4), shape(3, 4)) >= 6 * once


def test_operations_of_a_shard_map_count_once_per_device():
    mesh = Mesh(np.asarray(jax.devices()[:4]), ("data",))
    rows = PartitionSpec("data")
    product = jax.shard_map(lambda a: a @ a.T, mesh=mesh, in_specs=rows, out_specs=rows)
    assert flops.count(product, shape(8, 5)) == 4 * 2 * 2 * 5 * 2
