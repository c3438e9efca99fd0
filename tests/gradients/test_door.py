"""Gradient features of any function: those of a ViT's own door, and of text and sound."""

import jax.numpy as jnp
import numpy as np
import pytest

import hummingbird as hb
from hummingbird.errors import UserError
from hummingbird.gradients.sequences import delete_words, noise_and_shift
from tests.gradients.small import IMAGES, encoder

RNG = np.random.default_rng(0)
PARAMS = {"block": {"out": {"kernel": RNG.normal(size=(3, 4)).astype(np.float32), "bias": np.zeros(4, np.float32)}}}


def apply(params, x):
    out = params["block"]["out"]
    return jnp.tanh(x @ out["kernel"] + out["bias"])


@pytest.mark.long
def test_a_vit_has_the_same_features_through_both_doors():
    vit = encoder()
    embed = lambda params, images: vit.outputs(params, images)[0].cls
    found = hb.gradients.of(embed, vit.params, IMAGES[:2, None], "block_01/attention/out", dim=8)
    np.testing.assert_allclose(found, hb.gradients.features(vit, IMAGES[:2], dim=8), atol=2e-4)


@pytest.mark.long
def test_views_are_contrasted_with_negatives():
    views, negatives = RNG.normal(size=(2, 3, 3)), RNG.normal(size=(5, 4))
    found = hb.gradients.of(apply, PARAMS, views, "block/out", "simclr", negatives=negatives)
    assert found.shape == (2, 8)
    np.testing.assert_allclose(np.linalg.norm(found[:, :4], axis=1), 1, rtol=1e-5)
    alone = hb.gradients.of(apply, PARAMS, views[1:], "block/out", "simclr", negatives=negatives)
    np.testing.assert_allclose(alone[0], found[1], atol=1e-6)


def test_what_does_not_fit_is_refused_in_one_line():
    views = np.ones((2, 1, 3))
    with pytest.raises(UserError, match=r"no layer 'block/in': block has out"):
        hb.gradients.of(apply, PARAMS, views, "block/in")
    with pytest.raises(UserError, match=r"'block' is not a linear layer"):
        hb.gradients.of(apply, PARAMS, views, "block")
    with pytest.raises(UserError, match=r"kl takes one view of a sample, simclr takes two"):
        hb.gradients.of(apply, PARAMS, views, "block/out", "simclr")
    with pytest.raises(UserError, match=r"objective 'dino' is not one of kl, simclr"):
        hb.gradients.of(apply, PARAMS, views, "block/out", "dino")


def test_views_of_text_and_sound_change_what_they_say():
    words = [str(i) for i in range(200)]
    kept = delete_words(np.random.default_rng(0), words)
    assert len(kept) == 190
    assert kept == sorted(kept, key=int)
    assert delete_words(np.random.default_rng(0), ["alone"]) == ["alone"]
    sound = RNG.normal(size=(40, 4)).astype(np.float32)
    moved = noise_and_shift(np.random.default_rng(1), sound)
    shifts = [np.abs(np.roll(sound, s, 0) - moved).max() for s in range(-10, 11)]
    assert min(shifts) < 0.1 < sorted(shifts)[1]
