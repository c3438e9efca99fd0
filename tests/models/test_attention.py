"""Self-attention against NumPy in float64, on each of its paths, with and without a bias."""

from __future__ import annotations

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hummingbird.models import attention
from hummingbird.models.attention import self_attention


def reference(q, k, v, bias):
    q, k, v = (np.asarray(x, np.float64).transpose(0, 2, 1, 3) for x in (q, k, v))
    scores = q @ k.swapaxes(-1, -2) / q.shape[-1] ** 0.5 + (0 if bias is None else bias)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return (weights / weights.sum(-1, keepdims=True) @ v).transpose(0, 2, 1, 3)


@pytest.mark.parametrize("path", ["_batched", "_mapped", "_fused"])
@pytest.mark.parametrize("biased", [False, True])
def test_every_path_of_attention_computes_its_formula(path, biased, monkeypatch):
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(2, 7, 3, 4)).astype(np.float32) for _ in range(3))
    bias = rng.normal(size=(3, 7, 7)).astype(np.float32) if biased else None
    expected = reference(q, k, v, bias)
    np.testing.assert_allclose(jax.jit(getattr(attention, path))(q, k, v, bias), expected, atol=1e-5)
    monkeypatch.setattr(attention, "MAPPED_FROM", 7)
    np.testing.assert_allclose(jax.jit(self_attention)(q, k, v, bias), expected, atol=1e-5)


def test_cudnn_is_asked_only_where_it_can_compute_the_attention(monkeypatch):
    half, single = (jax.ShapeDtypeStruct((2, 196, 3, 64), dtype) for dtype in ("bfloat16", "float32"))
    narrow = jax.ShapeDtypeStruct((2, 196, 3, 60), "bfloat16")
    takes = attention.cudnn_takes
    assert not takes(half, None), "there is no GPU here"
    for capability, expected in (("9.0", True), ("8.0", True), ("7.5", False), ("12.0", True), ("gfx942", False)):
        gpu = types.SimpleNamespace(compute_capability=capability)
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
        monkeypatch.setattr(jax, "local_devices", lambda gpu=gpu: [gpu])
        assert takes(half, None) is expected
        assert not any((takes(single, None), takes(narrow, None), takes(half, half)))


@pytest.mark.parametrize("leading", [(6,), (2, 3), (2, 1, 3)])
def test_a_dense_product_and_its_gradients_are_those_of_the_formula_on_each_platform(leading, monkeypatch):
    rng = np.random.default_rng(0)
    x, kernel = (rng.normal(size=shape).astype(np.float32) for shape in ((*leading, 5), (5, 4)))
    numbers = (((len(leading),), (0,)), ((), ()))

    def loss(x, kernel):
        return jnp.sum(jnp.sin(attention.dense_product.__wrapped__(x, kernel, numbers)))

    expected = np.cos(x @ kernel)
    for platform in ("cpu", "cuda", "default"):
        choose = lambda *arrays, platform=platform, **paths: paths[platform](*arrays)
        monkeypatch.setattr(attention.lax, "platform_dependent", choose)
        d_x, d_kernel = jax.grad(loss, (0, 1))(x, kernel)
        np.testing.assert_allclose(d_x, expected @ kernel.T, atol=1e-5)
        np.testing.assert_allclose(d_kernel, x.reshape(-1, 5).T @ expected.reshape(-1, 4), atol=1e-5)
