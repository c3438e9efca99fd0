"""Encoders that are trained with their decoder: what is added changes nothing at first, and learns."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hummingbird.decoders import layer_decay
from hummingbird.decoders.trainable import trainable, trainable_params
from hummingbird.errors import UserError
from hummingbird.models.architecture import Architecture
from hummingbird.models.backbone import LAST_LAYER
from hummingbird.models.frozen_vit import FrozenViT
from hummingbird.models.resnet import ResNetArchitecture
from tests import tiny

ARCH = Architecture(8, 16, 2, 2, 32, grid=(2, 3), cls=False)
IMAGES = np.random.default_rng(0).random((3, 24, 32, 3)).astype(np.float32)
KEYS = jax.random.split(jax.random.key(1), 3)


def drawn(backbone):
    shapes = jax.eval_shape(backbone.module().init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))["params"]
    return tiny.drawn(shapes)


def last(backbone, params, keys=None):
    run = jax.jit(lambda params, keys: backbone.layers(params, IMAGES, (-1,), True, keys)[0].patches)
    return np.asarray(run(params, keys))


@pytest.mark.parametrize(("cls", "registers"), [(False, 0), (True, 2)])
def test_tables_of_zeros_and_scales_of_one_change_no_feature(cls, registers):
    old = FrozenViT(dataclasses.replace(ARCH, cls=cls, registers=registers))
    new = trainable(old, (3, 4), relative_bias=True, layer_scale=True, remat=True)
    params = drawn(old)
    made = trainable_params(params, old, new)
    assert jax.tree.map(np.shape, made) == jax.tree.map(np.shape, drawn(new))
    np.testing.assert_allclose(last(new, made), last(old, params), atol=1e-5)


@pytest.mark.long
def test_what_is_added_has_a_gradient_but_no_weight_decay_and_remat_changes_none():
    old = FrozenViT(ARCH)
    new = trainable(old, (3, 4), relative_bias=True, layer_scale=True)
    params = trainable_params(drawn(old), old, new)

    def slope(backbone):
        loss = lambda params: (backbone.layers(params, IMAGES, (0, -1), True, KEYS)[1].patches ** 3).sum()
        return jax.jit(jax.grad(loss))(params)

    gradients, decays = slope(new), layer_decay.decays(params)
    for name in ("scale1", "scale2"):
        assert np.abs(gradients["block_01"][name]).max() > 0
        assert not decays["block_01"][name]
    assert np.abs(gradients["block_01"]["attention"]["relative"]).max() > 0
    assert not decays["block_01"]["attention"]["relative"]
    close = lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
    jax.tree.map(close, slope(dataclasses.replace(new, remat=True)), gradients)


def test_an_image_skips_branches_only_in_training():
    backbone = trainable(FrozenViT(ARCH), (2, 3), drop_path=0.9)
    params = drawn(backbone)
    usual = last(FrozenViT(ARCH), params)
    np.testing.assert_allclose(last(backbone, params), usual, atol=1e-6)
    assert np.abs(last(backbone, params, KEYS) - usual).max() > 1e-3


def test_stages_are_not_given_what_belongs_to_a_vit():
    arch = ResNetArchitecture((1,), (8,), inner=(4,), shortcuts=(True,))
    backbone = arch.backbone(LAST_LAYER, "float32")
    assert trainable(backbone, (2, 2), remat=True) is backbone
    with pytest.raises(UserError, match=r"decoder\.layer_scale: a ResNet is not a ViT; leave it out"):
        trainable(backbone, (2, 2), layer_scale=True)
