"""What the paper varies in gradients of whole images: heads, normalisation, DINO's views, the layer."""

import jax.numpy as jnp
import numpy as np
import pytest

import hummingbird as hb
from hummingbird.config.features import Variant
from hummingbird.errors import UserError
from hummingbird.gradients import image_losses, losses
from hummingbird.gradients.views import dino_policy, view_of
from tests.gradients.small import IMAGES, encoder

RNG = np.random.default_rng(0)
ROWS = jnp.asarray(RNG.normal(size=(12, 32)), jnp.float32)
HEADS = {name: head for key in image_losses.HEADS for name, head in image_losses.build_heads(key, 0, 32).items()}
TREE = {"heads": {name: head._asdict() for name, head in HEADS.items()}}


@pytest.mark.parametrize("unit", ["auto", "yes", "no"])
@pytest.mark.parametrize("objective", ["kl", "simclr"])
def test_heads_take_features_as_the_variant_says(objective, unit):
    normalised = {"auto": objective == "kl", "yes": True, "no": False}[unit]
    rows = np.asarray(ROWS) / (np.linalg.norm(ROWS, axis=1, keepdims=True) if normalised else 1)
    without = image_losses.outputs(TREE, Variant(unit=unit, head="none"), objective, objective, ROWS)
    np.testing.assert_allclose(without, rows, atol=1e-6)
    found = image_losses.outputs(TREE, Variant(unit=unit), objective, objective, ROWS)
    np.testing.assert_allclose(found, rows @ HEADS[objective].kernel + HEADS[objective].bias, atol=1e-5)


def test_a_shared_head_is_the_student_s():
    unit = losses.unit(ROWS)
    student = unit @ HEADS["student"].kernel + HEADS["student"].bias
    found = image_losses.dino_loss(TREE, Variant(shared_heads=True), ROWS, jnp.ones(1, bool))
    assert float(found) == pytest.approx(float(losses.dino(student[:2], student)), rel=1e-6)
    assert float(image_losses.dino_loss(TREE, Variant(), ROWS, jnp.ones(1, bool))) != pytest.approx(float(found))


@pytest.mark.long
def test_gradients_of_the_last_block_by_autodiff_are_those_of_the_tail():
    given = {"projection": "tensor", "dim": 8, "rank": 1}
    tail = hb.gradients.features(encoder(), IMAGES[:2], **given)
    whole = hb.gradients.features(encoder(), IMAGES[:2], **given, variant=Variant(layer=1, alone=True))
    np.testing.assert_allclose(whole, tail[:, :8], atol=2e-4)


@pytest.mark.slow
def test_gradients_of_an_earlier_block_are_those_of_the_door():
    vit = encoder()
    embed = lambda params, images: vit.outputs(params, images)[0].cls
    through = hb.gradients.of(embed, vit.params, IMAGES[:2, None], "block_00/attention/out", dim=8)
    found = hb.gradients.features(vit, IMAGES[:2], dim=8, variant=Variant(layer=0))
    np.testing.assert_allclose(found, through, atol=2e-4)


def test_dino_s_augmentation_is_a_function_of_the_image_and_the_seed():
    image = RNG.integers(0, 256, (24, 24, 3), np.uint8)
    crops = view_of("dino", Variant(), image, 16, 0, 3)
    changed = view_of("dino", Variant(augmentation="dino"), image, 16, 0, 3)
    assert changed.shape == crops.shape == (12, 16, 16, 3)
    assert (changed != crops).any(axis=(1, 2, 3)).sum() > 6
    np.testing.assert_array_equal(changed, view_of("dino", Variant(augmentation="dino"), image, 16, 0, 3))
    np.testing.assert_array_equal(view_of("kl", Variant(augmentation="dino"), image, 24, 0, 3)[0], image)
    blurred = [dino_policy(np.random.default_rng(i), image, 0).std() for i in range(20)]
    sharp = [dino_policy(np.random.default_rng(i), image, 1).std() for i in range(20)]
    assert np.mean(blurred) < 0.8 * np.mean(sharp)  # the first global crop is always blurred, the second rarely


def test_variants_that_do_not_fit_are_refused_in_one_line():
    with pytest.raises(UserError, match=r"features.variant.layer: 2 is not a block; cls has 2"):
        hb.gradients.features(encoder(), IMAGES, variant=Variant(layer=2))
    with pytest.raises(UserError, match=r"features.variant.layer needs features.projection=dense or tensor"):
        hb.gradients.features(encoder(), IMAGES, projection="none", variant=Variant(layer=0))
    with pytest.raises(UserError, match=r"features.variant is for whole images"):
        hb.gradients.in_context(encoder(), variant={"alone": True})
