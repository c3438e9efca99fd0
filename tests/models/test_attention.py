"""Self-attention against NumPy in float64, on each of its paths, with and without a bias."""

from __future__ import annotations

import jax
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
