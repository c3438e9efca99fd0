"""phi computed chunk by chunk equals the MLP with batch norm over the whole bank."""

import jax
import jax.numpy as jnp
import numpy as np

from hummingbird.models.heads import MlpHead
from hummingbird.models.value_head import ValueHead
from tests import reference

RNG = np.random.default_rng(0)
KEYS = jnp.asarray(RNG.normal(size=(6, 4, 8)) + RNG.normal(size=8) * 3, jnp.float32)  # far from the origin
PLAIN, STREAMED = MlpHead(32, 5), ValueHead(32, 5, chunk=8)
VARIABLES = jax.jit(PLAIN.init)(jax.random.key(0), KEYS)
PARAMS = jax.tree.map(lambda x: x + 0.1 * RNG.normal(size=x.shape).astype(np.float32), VARIABLES["params"])


def apply(head, params):
    return head.apply({"params": params, "batch_stats": VARIABLES["batch_stats"]}, KEYS, mutable=["batch_stats"])


def test_values_and_running_statistics_are_those_of_the_plain_head():
    (values, stats), (wanted, wanted_stats) = apply(STREAMED, PARAMS), apply(PLAIN, PARAMS)
    np.testing.assert_allclose(values, wanted, atol=2e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), stats, wanted_stats)
    exact = jax.tree.map(lambda x: np.asarray(x, np.float64), PARAMS)
    flat = np.asarray(KEYS, np.float64).reshape(-1, 8)
    np.testing.assert_allclose(values.reshape(-1, 5), reference.mlp_head(exact, flat), atol=2e-5)


def test_gradients_are_those_of_the_plain_head():
    loss = lambda head: lambda params: jnp.sum(jnp.sin(apply(head, params)[0]))
    ours, wanted = (jax.jit(jax.grad(loss(head)))(PARAMS) for head in (STREAMED, PLAIN))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4), ours, wanted)


def test_initial_parameters_are_the_same_and_running_statistics_are_used_after_training():
    jax.tree.map(np.testing.assert_array_equal, jax.jit(STREAMED.init)(jax.random.key(0), KEYS), VARIABLES)
    after = [head.apply(VARIABLES, KEYS, train=False) for head in (STREAMED, PLAIN)]
    np.testing.assert_allclose(*after, atol=2e-5)


def test_memory_does_not_grow_with_the_bank():
    def temporary(slots):
        head = ValueHead(256, 8, chunk=16)
        loss = lambda params, keys, out: jnp.sum(
            out * head.apply({"params": params, "batch_stats": stats}, keys, True, mutable=["batch_stats"])[0]
        )
        keys = jax.ShapeDtypeStruct((slots, 4, 8), jnp.float32)
        shapes = jax.eval_shape(head.init, jax.random.key(0), keys)
        stats = jax.tree.map(jnp.zeros_like, shapes["batch_stats"])
        compiled = jax.jit(jax.grad(loss)).lower(shapes["params"], keys, keys).compile()
        return compiled.memory_analysis().temp_size_in_bytes - 2 * slots * 4 * 8 * 4  # centred keys and values

    assert temporary(8 * 64) < 1.1 * temporary(64)
