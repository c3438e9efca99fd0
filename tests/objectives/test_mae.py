"""MAE: its masks, targets, loss and decoder against float64 NumPy; what it refuses."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hummingbird import train
from hummingbird.errors import UserError
from hummingbird.models.decoder import put_tokens
from hummingbird.models.positions import sincos2d
from hummingbird.models.vit import take_tokens
from hummingbird.objectives import masking
from hummingbird.objectives.mae import masked_error, pixel_targets
from tests import reference, tiny
from tests.objectives.slopes import assert_gradient
from tests.objectives.test_every import TINY

MAE = TINY["mae"]
ERF = np.vectorize(math.erf)
KEYS = jax.random.split(jax.random.key(0), 200)


def test_kept_patches_are_a_uniform_choice_without_repetition_and_keyed_per_image():
    keep = np.asarray(masking.kept_patches(KEYS, 16, 4))
    assert all(len(set(row)) == 4 for row in keep)
    counts = np.bincount(keep.ravel(), minlength=16)
    assert counts.min() > 25  # 50 on average
    np.testing.assert_array_equal(masking.kept_patches(KEYS[5:7], 16, 4), keep[5:7])
    kept = np.asarray(masking.is_kept(jnp.asarray(keep), 16))
    assert all(set(np.flatnonzero(row)) == set(numbers) for row, numbers in zip(kept, keep, strict=True))


def test_putting_tokens_back_is_the_way_back_from_taking_them():
    x, fill = np.random.default_rng(0).normal(size=(2, 6, 3)).astype(np.float32), np.full(3, 9, np.float32)
    keep = np.array([[5, 0], [2, 3]])
    expected = np.full_like(x, 9)
    for image, numbers in enumerate(keep):
        expected[image, numbers] = x[image, numbers]
    np.testing.assert_array_equal(put_tokens(take_tokens(x, keep), keep, 6, fill), expected)


def patches(images, p):
    """[B, H, W, 3] -> [B, N, p p 3] by loops."""
    rows, columns = images.shape[1] // p, images.shape[2] // p
    places = [(r * p, c * p) for r in range(rows) for c in range(columns)]
    return np.stack([images[:, r : r + p, c : c + p].reshape(len(images), -1) for r, c in places], axis=1)


@pytest.mark.parametrize("normalise", [False, True])
def test_targets_are_the_pixels_of_a_patch_normalised_by_itself(normalise):
    images = np.random.default_rng(0).normal(size=(2, 16, 24, 3))
    expected = patches(images, 8)
    if normalise:
        mean, variance = expected.mean(-1, keepdims=True), expected.var(-1, keepdims=True, ddof=1)
        expected = (expected - mean) / np.sqrt(variance + 1e-6)
    np.testing.assert_allclose(pixel_targets(images.astype(np.float32), 8, normalise), expected, atol=1e-5)


def test_the_loss_is_that_of_a_network_written_in_numpy_in_value_and_gradient():
    """Decoder and error together: linear, mask tokens, positions, a block, a norm, a linear layer; masked patches."""
    objective = tiny.program(1, **MAE).algorithm.objective
    rng = np.random.default_rng(1)
    tokens, targets = rng.normal(size=(3, 4, 32)), rng.normal(size=(3, 16, 192))
    keep = np.stack([rng.permutation(16)[:4] for _ in range(3)])
    theta = tiny.drawn_heads(objective).params
    mask = ~np.asarray(masking.is_kept(jnp.asarray(keep), 16))

    @jax.jit
    def ours(theta, tokens):
        predicted = objective.heads.apply({"params": theta}, tokens, keep)
        return masked_error(predicted, targets.astype(np.float32), mask).mean()

    def norm(p, x):
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6) * p["scale"] + p["bias"]

    def independent(at):
        p, tokens = at[0]["decoder"], at[1]
        x = np.tile(p["mask_token"], (3, 16, 1))
        for i, numbers in enumerate(keep):
            x[i, numbers] = reference.dense(p["embed"], tokens[i])
        x = x + sincos2d(4, 4, 16)
        block = p["block_00"]
        q, k, v = np.split(reference.dense(block["attention"]["qkv"], norm(block["norm1"], x)), 3, axis=-1)
        heads = [
            reference.softmax(q[..., h] @ k[..., h].swapaxes(1, 2) / np.sqrt(8)) @ v[..., h]
            for h in (slice(0, 8), slice(8, 16))
        ]
        x = x + reference.dense(block["attention"]["out"], np.concatenate(heads, -1))
        hidden = reference.dense(block["mlp"]["up"], norm(block["norm2"], x))
        x = x + reference.dense(block["mlp"]["down"], 0.5 * hidden * (1 + ERF(hidden / np.sqrt(2))))
        predicted = reference.dense(p["values"], norm(p["norm"], x))
        errors = ((predicted - targets) ** 2).mean(axis=-1)
        return np.mean([errors[i, mask[i]].mean() for i in range(3)])

    at = (theta, tokens.astype(np.float32))
    value, gradients = jax.value_and_grad(ours, (0, 1))(*at)
    exact = jax.tree.map(lambda x: np.asarray(x, np.float64), at)
    assert float(value) == pytest.approx(independent(exact), rel=1e-5)
    assert_gradient(independent, exact, gradients)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mae.mask_ratio": 0.97}, r"mae.mask_ratio: 0.97 leaves none of the 16 patches; use less"),
        ({"context.bank_length": 32}, r"context.bank_length: objective.name=mae compares no pooled features; use 0"),
        ({"pooling": "qkv"}, r"pooling: objective.name=mae does not train attention pooling; use mean or cls"),
        ({"supervised.weight": 0.1, "supervised.objective": "classifier"}, r"supervised.weight: .* no supervised part"),
        ({"mae.decoder_heads": 3}, r"mae.decoder_heads: 3 does not divide mae.decoder_dim 16"),
    ],
)
def test_settings_that_do_not_fit_are_refused_by_a_line(changes, message):
    with pytest.raises(UserError, match=message):
        train.build_program(tiny.tiny_config(**MAE | changes), 64)
