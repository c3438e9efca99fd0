"""Equations 2 to 4 on the whole network, against NumPy float64, and the variants of Table 5."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hummingbird import config
from hummingbird.config.schema import flatten
from hummingbird.models.context import unit_keys
from hummingbird.models.pretrainer import build_pretrainer
from hummingbird.objectives import build_objective
from tests import reference

SMALL = {
    "input_size": 16,
    "batch_size": 6,
    "encoder": {"name": "vit_ti8", "width": 16, "depth": 1, "heads": 2},
    "context": {"bank_length": 12, "hidden_dim": 24, "temperature": 0.1},
    "heads": {"hidden_dim": 20, "output_dim": 8},
}
VIEWS = jnp.asarray(np.random.default_rng(0).uniform(size=(6, 2, 16, 16, 3)), jnp.float32)
KEYS = jnp.asarray(np.random.default_rng(1).normal(size=(2, 6, 16)), jnp.float32)


def build(**changes):
    """The network, its heads, and random parameters of both."""
    settings = config.resolve("pretrain", None, {**flatten(SMALL), **changes})
    model, heads = build_pretrainer(settings), build_objective(settings, lambda arrays: arrays).heads
    keys = KEYS[:0] if changes.get("context.bank_length") == 0 else KEYS
    key, pooled = jax.random.key(0), jnp.zeros((6, 2, 16))
    parts = jax.eval_shape(model.init, key, VIEWS, keys), jax.eval_shape(heads.init, key, pooled)
    shapes = {name: {**parts[0].get(name, {}), **parts[1][name]} for name in ("params", "batch_stats")}
    # Random, because the zeros and ones that biases and scales start from would hide an omission.
    rng = np.random.default_rng(1)
    return model, heads, jax.tree.map(lambda x: rng.normal(0.1, 0.3, x.shape).astype(x.dtype), shapes), keys


def call(module, variables, *arrays, method="__call__"):
    """What a module returns, compiled as a whole: that is quicker than compiling each operation."""
    return jax.jit(lambda v, x: module.apply(v, *x, method=method, mutable=["batch_stats"])[0])(variables, arrays)


def test_network_equals_equations_2_and_3_in_float64():
    model, heads, variables, keys = build()
    outputs = call(model, variables, VIEWS, keys)
    projections = call(heads, variables, outputs.pooled, method="project")
    predictions = call(heads, variables, projections, method="predict")
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), variables["params"])
    for view in range(2):
        h = np.asarray(call(model, variables, VIEWS[:, view], method="encode").patches, np.float64)
        c = reference.contextualised(p, h, np.asarray(KEYS, np.float64).reshape(-1, 16), 0.2, 0.1)
        pooled, masks = reference.attention_pooling(p["pool"], c)
        z = reference.mlp_head(p["projector"], pooled)
        np.testing.assert_allclose(outputs.summary[:, view], h.mean(axis=1), atol=1e-5)
        np.testing.assert_allclose(outputs.masks[:, view], masks, atol=1e-5)
        np.testing.assert_allclose(outputs.pooled[:, view], pooled, atol=1e-4)
        np.testing.assert_allclose(projections[:, view], z, atol=1e-3)
        np.testing.assert_allclose(predictions[:, view], reference.mlp_head(p["predictor"], z), atol=2e-3)


def test_gradients_equal_central_differences_in_float64():
    model, heads, variables, keys = build()
    tokens = np.random.default_rng(2).normal(size=(6, 4, 16))

    def pool(module, h, keys):
        return module.pool(module.contextualise(h, unit_keys(keys, h.dtype), module.values(keys))[0])[0]

    def ours(params, h):
        own = {**variables, "params": params}
        pooled = call(model, own, h, keys, method=pool)[:, None]
        return jnp.sum(jnp.sin(call(heads, own, call(heads, own, pooled, method="project"), method="predict")))

    def independent(p, h):
        c = reference.contextualised(p, h, np.asarray(KEYS, np.float64).reshape(-1, 16), 0.2, 0.1)
        z = reference.mlp_head(p["projector"], reference.attention_pooling(p["pool"], c)[0])
        return np.sum(np.sin(reference.mlp_head(p["predictor"], z)))

    params = {k: v for k, v in variables["params"].items() if k != "encoder"}
    gradient, d_tokens = jax.jit(jax.grad(ours, (0, 1)))(params, tokens.astype(np.float32))
    exact = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    leaves, tree = jax.tree.flatten({**exact, "tokens": tokens})
    rng = np.random.default_rng(3)
    for i, g in enumerate(jax.tree.leaves({**gradient, "tokens": d_tokens})):
        direction = rng.normal(size=leaves[i].shape)
        at = []
        for e in (1e-6, -1e-6):
            moved = jax.tree.unflatten(tree, [x + e * direction if j == i else x for j, x in enumerate(leaves)])
            at.append(independent({k: v for k, v in moved.items() if k != "tokens"}, moved["tokens"]))
        slope = (at[0] - at[1]) / 2e-6
        assert np.sum(np.asarray(g, np.float64) * direction) == pytest.approx(slope, rel=2e-2, abs=2e-2)


@pytest.mark.long
def test_views_that_pass_together_are_encoded_as_if_each_passed_alone():
    model, _, variables, keys = build(**{"encoder.drop_path": 0.5, "encoder.depth": 2, "pooling": "cls"})
    views = np.random.default_rng(4).random((6, 3, *VIEWS.shape[2:])).astype(np.float32)
    rngs = jax.random.split(jax.random.key(1), 6)

    def encode(module, views, rngs):
        return module.encode_views(views, unit_keys(keys, jnp.float32), module.values(keys), None, None, rngs, True)

    together = call(model, variables, views, rngs, method=encode)
    for i in range(3):
        own = jax.vmap(jax.random.fold_in, (0, None))(rngs, i)
        alone = call(model, variables, views[:, i], None, None, own, method="encode")
        np.testing.assert_allclose(together.tokens[:, i], alone.patches, atol=1e-5)
        np.testing.assert_allclose(together.summary[:, i], alone.patches.mean(axis=1), atol=1e-5)


def test_lambda_zero_reads_nothing_from_the_bank():
    model, _, variables, _ = build(**{"context.weight": 0.0})
    pooled = [np.asarray(call(model, variables, VIEWS, keys).pooled) for keys in (KEYS, KEYS[::-1] * 2 + 1)]
    np.testing.assert_allclose(*pooled, atol=1e-6)


@pytest.mark.parametrize("pooling", ["qkv", "qk", "mean", "cls"])
@pytest.mark.parametrize("bank_length", [0, 12])
def test_every_row_of_table_5_has_its_own_parameters(pooling, bank_length):
    model, _, variables, keys = build(pooling=pooling, **{"context.bank_length": bank_length})
    outputs = call(model, variables, VIEWS, keys)
    params = variables["params"]
    assert ("mix" in params) == ("value_head" in params) == (bank_length > 0)
    assert ("pool" in params) == (pooling in ("qkv", "qk"))
    if pooling in ("qkv", "qk"):
        assert ("value" in params["pool"]) == (pooling == "qkv")
    assert ("cls" in params["encoder"]) == (pooling == "cls")
    assert outputs.masks.shape == (6, 2, 1 if pooling == "cls" else 4)
    np.testing.assert_allclose(outputs.masks.sum(axis=2), 1, rtol=1e-5)
    assert set(outputs.attention_stats) == ({"similarity", "share", "entropy"} if bank_length else set())
