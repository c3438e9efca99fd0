"""Gradient features of images against `jax.grad` of the whole network, and what they do not depend on."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hummingbird as hb
from hummingbird.errors import UserError
from hummingbird.gradients import images as door
from hummingbird.gradients.heads import build_head
from hummingbird.gradients.image_losses import DEFAULT
from hummingbird.gradients.losses import kl_to_uniform, unit
from tests.gradients.small import IMAGES, encoder
from tests.weights.upstream import relative_error

KL = {"projection": "tensor", "dim": 8}


@pytest.mark.long
@pytest.mark.parametrize("name", ["cls", "plain", "all variations"])
def test_outer_products_are_the_gradient_of_the_whole_network(name):
    vit = encoder(name)
    head = build_head("kl", 0, 32, 768)
    tree = {"encoder": vit.params, "heads": {"kl": head._asdict()}}

    @jax.jit
    def whole(params):
        def loss(params):
            patches, cls = vit.outputs(params, IMAGES[:1])[0]
            embedding = patches.mean((1, 2)) if cls is None else cls
            return kl_to_uniform(unit(embedding) @ head.kernel + head.bias).sum()

        return vit.projection(jax.grad(loss)(params))

    run = jax.jit(
        lambda tree: door.outer_products(vit.backbone, "kl", "cls", DEFAULT, tree, IMAGES[:1, None], jnp.ones((1, 1)))
    )
    _, delta, inputs = run(tree)
    found = np.einsum("bte,btd->ed", inputs, delta)
    kernel, bias = whole(vit.params)
    assert relative_error(found[:-1], np.asarray(kernel)) < 1e-5
    assert relative_error(found[-1], np.asarray(bias)) < 1e-5


@pytest.mark.long
def test_features_do_not_depend_on_the_batch_its_order_or_the_devices(monkeypatch):
    vit = encoder()
    together = hb.gradients.features(vit, IMAGES, **KL)
    assert together.shape == (5, 8 + 32)
    np.testing.assert_allclose(np.linalg.norm(together[:, :8], axis=1), 1, rtol=1e-5)
    backward = hb.gradients.features(vit, IMAGES[::-1], **KL)[::-1]
    np.testing.assert_allclose(together, backward, atol=1e-6)
    monkeypatch.setattr(door, "BATCHES", {"kl": 2})
    alone = [hb.gradients.features(vit, IMAGES[i : i + 1], **KL) for i in range(2)]
    np.testing.assert_allclose(together[:2], np.concatenate(alone), atol=1e-6)


@pytest.mark.slow
def test_views_are_those_of_the_image_alone_and_not_its_own_negatives():
    vit, settings = encoder(), {"projection": "tensor", "dim": 8, "size": 16}
    negatives = hb.gradients.fit_negatives(vit, IMAGES[:2], size=16)
    assert negatives.outputs.shape[1] == 96
    both = hb.gradients.features(vit, IMAGES[:2], ("simclr", "dino"), negatives=negatives, **settings)
    assert both.shape == (2, 8 + 8 + 32)
    alone = hb.gradients.features(vit, IMAGES[1:2], ("simclr", "dino"), negatives=negatives, **settings)
    np.testing.assert_allclose(alone[0], both[1], atol=1e-5)
    own = dataclasses.replace(negatives, exclude_self=False)
    other = hb.gradients.features(vit, IMAGES[:2], ("simclr",), negatives=own, **settings)
    assert np.abs(other[:, :8] - both[:, :8]).max() > 1e-3


def test_what_gradients_cannot_be_taken_of_is_refused():
    with pytest.raises(UserError, match=r"encoder raw RGB .* has no last attention .* use a ViT"):
        hb.gradients.features(hb.load_encoder("rgb:8"), IMAGES)
    with pytest.raises(UserError, match=r"'byol' is not one of kl, dino, simclr"):
        hb.gradients.features(encoder(), IMAGES, ("kl", "byol"))
    with pytest.raises(UserError, match=r"simclr contrasts an image with others"):
        hb.gradients.features(encoder(), IMAGES, ("simclr",))
