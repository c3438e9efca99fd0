"""A frozen ViT's layers and its two halves around the last projection, for every variation that an encoder may have."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hummingbird.errors import UserError
from hummingbird.models.architecture import Architecture
from hummingbird.models.backbone import Features
from hummingbird.models.frozen import FrozenEncoder
from hummingbird.models.frozen_vit import FrozenViT
from hummingbird.models.vit import ViT
from tests.weights.upstream import relative_error

PLAIN = Architecture(patch_size=8, width=32, depth=2, heads=4, mlp_dim=48, grid=(2, 3), cls=False)
ALL_AT_ONCE = dataclasses.replace(
    PLAIN, cls=True, registers=2, swiglu=True, activation="silu", layer_scale=True, rotary=100.0, pre_norm=True
)
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 16, 24, 3), dtype=np.uint8)
PARTS = jax.random.normal(jax.random.key(1), (32,))


def encoder_of(arch, features=None, dtype="float32") -> FrozenEncoder:
    """An encoder with parameters that are neither 0 nor 1."""
    params = jax.eval_shape(ViT(arch).init, jax.random.key(0), jnp.zeros((1, 16, 24, 3)))["params"]
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: jnp.asarray(rng.normal(0.1, 0.3, x.shape), jnp.float32), params)
    return FrozenEncoder(FrozenViT(arch, features or Features(), dtype=dtype), params, "random", "x")


@pytest.fixture(scope="module", params=[PLAIN, ALL_AT_ONCE], ids=["plain", "all variations"])
def encoder(request):
    return encoder_of(request.param)


def loss_of(patches, cls):
    """A loss on tokens [B, N, D] and [B, D] that is not linear and differs from patch to patch."""
    weight = jnp.arange(1, patches.shape[1] + 1)[:, None]
    found = jnp.sum(jnp.tanh(patches * PARTS) * weight)
    return found if cls is None else found + jnp.sum(jnp.sin(cls * PARTS))


@pytest.mark.long
def test_outer_products_of_one_cotangent_are_the_gradient_of_the_projection(encoder):
    """FUNGI's gradients: one vector-Jacobian product of the tail, against jax.grad of the whole network."""

    @jax.jit
    def whole(params):
        def loss(params):
            patches, cls = encoder.outputs(params, IMAGES)[0]
            return loss_of(patches.reshape(len(IMAGES), -1, encoder.dim), cls)

        return encoder.projection(jax.grad(loss)(params))

    @jax.jit
    def by_token(params):
        last = encoder.body(params, IMAGES)
        kernel, bias = encoder.projection(params)
        projected = jnp.einsum("bte,ed->btd", last.attended, kernel, precision="highest") + bias
        delta = jax.grad(lambda p: loss_of(*encoder.split(encoder.tail(params, last, p))))(projected)
        return jnp.einsum("bte,btd->ed", last.attended, delta, precision="highest"), delta.sum((0, 1))

    for ours, theirs in zip(by_token(encoder.params), whole(encoder.params), strict=True):
        assert float(jnp.abs(theirs).max()) > 1e-3
        assert relative_error(np.asarray(ours), np.asarray(theirs)) < 1e-5


@pytest.mark.long
def test_tail_of_body_is_the_encoder_and_takes_another_axis(encoder):
    features = encoder(IMAGES)

    @jax.jit
    def halves(params, views):
        return jax.vmap(lambda x: encoder.split(encoder.tail(params, encoder.body(params, x))).patches)(views)

    views = np.stack([IMAGES, IMAGES[::-1]])
    patches = np.asarray(halves(encoder.params, views))
    assert relative_error(patches[0].reshape(features.shape), features) < 1e-5
    assert relative_error(patches[1].reshape(features.shape), features[::-1]) < 1e-5


@pytest.mark.long
def test_layers_and_cls_are_those_of_encoders_of_single_layers(encoder):
    arch = encoder.backbone.arch
    first = dataclasses.replace(encoder, backbone=FrozenViT(arch, Features(layers=(0,))))
    several = encoder.layers(IMAGES, (-1, 0))
    np.testing.assert_allclose(several[0], encoder(IMAGES), atol=1e-5)
    np.testing.assert_allclose(several[1], first(IMAGES), atol=1e-5)
    raw = encoder.layers(IMAGES, (0,), norm=False)[0]
    assert not np.allclose(raw, several[1])
    if not arch.cls:
        with pytest.raises(UserError, match=r"random has no \[CLS\] token; take the mean"):
            encoder.cls(IMAGES)
        return
    assert encoder.cls(IMAGES).shape == (2, 32)
    both = dataclasses.replace(encoder, backbone=FrozenViT(arch, Features(layers=(0, -1))))
    np.testing.assert_allclose(
        both.cls(IMAGES), np.concatenate([first.cls(IMAGES), encoder.cls(IMAGES)], -1), atol=1e-5
    )


def test_pixels_may_be_bytes_or_fractions(encoder):
    run = jax.jit(encoder.apply)
    np.testing.assert_allclose(
        run(encoder.params, IMAGES), run(encoder.params, IMAGES.astype(np.float32) / 255), atol=1e-5
    )


def test_halves_need_the_tokens_of_one_layer():
    encoder = encoder_of(PLAIN, Features(layers=(0,)))
    run = jax.jit(lambda p: encoder.split(encoder.tail(p, encoder.body(p, IMAGES))).patches)
    patches = np.asarray(run(encoder.params))
    np.testing.assert_allclose(patches.reshape(2, 2, 3, 32), encoder(IMAGES), atol=1e-5)
    for features in (Features("key"), Features(layers=(0, 1))):
        other = encoder_of(PLAIN, features)
        with pytest.raises(UserError, match=r"body and tail need tokens of one layer"):
            other.body(other.params, IMAGES)
    with pytest.raises(UserError, match=r"layers \[2\]: the encoder has layers 0 to 1, or -1 to -2"):
        encoder.layers(IMAGES, (2,))


def test_the_tail_computes_in_float32_whatever_the_body_does():
    encoder = encoder_of(PLAIN, dtype="bfloat16")
    last = jax.eval_shape(encoder.body, encoder.params, IMAGES)
    assert last.attended.dtype == jnp.bfloat16
    assert jax.eval_shape(encoder.tail, encoder.params, last).dtype == jnp.float32


@pytest.mark.parametrize(("dtype", "precision"), [("float32", "HIGHEST"), ("tf32", "HIGH"), ("bfloat16", "DEFAULT")])
def test_every_product_of_an_encoder_has_the_precision_of_its_dtype(dtype, precision):
    """GPUs and TPUs round the operands of float32 products unless they are asked not to."""
    encoder = encoder_of(PLAIN, dtype=dtype)
    for function in (encoder.apply, encoder.body):
        text = jax.jit(function).lower(encoder.params, IMAGES).as_text()
        products = [line for line in text.splitlines() if "dot_general" in line]
        positions = [line for line in products if "2x3x32" in line or "tensor<2x2" in line]
        assert len(products) > 5  # layers share them
        for line in products:
            assert f"precision = [{precision}, {precision}]" in line or line in positions, line


@pytest.mark.long
def test_class_tokens_of_several_layers_stand_before_the_mean_of_the_patches():
    encoder = encoder_of(ALL_AT_ONCE)
    found = encoder.class_tokens(IMAGES, (-2, -1))
    outputs = encoder.outputs(encoder.params, IMAGES, (0, 1))
    for one, output in zip(found, [*(x.cls for x in outputs), outputs[-1].patches.mean((1, 2))], strict=True):
        np.testing.assert_allclose(one, output, atol=2e-5)
    with pytest.raises(UserError, match=r"random has no \[CLS\] token"):
        encoder_of(PLAIN).class_tokens(IMAGES, (-1,))
