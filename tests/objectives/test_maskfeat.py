"""MaskFeat: its histograms against loops over pixels in NumPy, its loss and gradient, what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hummingbird import train
from hummingbird.errors import UserError
from hummingbird.objectives.mae import masked_error
from hummingbird.objectives.maskfeat import hog, hog_patches
from tests import reference, tiny
from tests.objectives.slopes import assert_gradient
from tests.objectives.test_every import TINY

MASKFEAT = TINY["maskfeat"]


def histograms(image, cell, bins):
    """[H, W, C] -> [h, w, C, bins], pixel by pixel."""
    height, width, channels = image.shape
    out = np.zeros((height // cell, width // cell, channels, bins))
    for y in range(height):
        for x in range(width):
            for c in range(channels):
                gx = image[y, x + 1, c] - image[y, x - 1, c] if 0 < x < width - 1 else 0.0
                gy = image[y + 1, x, c] - image[y - 1, x, c] if 0 < y < height - 1 else 0.0
                degrees = np.degrees(np.arctan2(gy, gx)) % 180
                out[y // cell, x // cell, c, int(degrees * bins / 180) % bins] += np.hypot(gx, gy)
    norm = np.linalg.norm(out, axis=-1, keepdims=True)
    return out / np.maximum(norm, 1e-6)


def test_histograms_are_those_of_a_loop_over_pixels():
    images = np.random.default_rng(0).random((2, 16, 24, 3))
    expected = np.stack([histograms(image, 4, 9) for image in images])
    got = np.asarray(jax.jit(hog, static_argnums=(1, 2))(images.astype(np.float32), 4, 9))
    np.testing.assert_allclose(got, expected, atol=1e-4)
    patches = np.asarray(hog_patches(images.astype(np.float32), 8, 4, 9))
    assert patches.shape == (2, 6, 108)
    np.testing.assert_allclose(patches[1, 4].reshape(2, 2, 3, 9), expected[1, 2:4, 2:4], atol=1e-4)  # row 1, column 1


def test_a_vertical_edge_votes_for_a_horizontal_gradient_whatever_its_sign():
    image = np.zeros((1, 8, 8, 1), np.float32)
    image[:, :, 4:] = 1
    whole = jax.jit(lambda picture: hog(picture, 8, 9))
    for picture in (image, 1 - image):
        np.testing.assert_allclose(whole(picture)[0, 0, 0, 0], [1] + 8 * [0], atol=1e-6)
    assert not np.any(whole(np.ones_like(image)))  # flat cells have no direction


def test_the_loss_is_the_error_of_masked_patches_in_value_and_gradient():
    objective = tiny.program(1, **MASKFEAT).algorithm.objective
    rng = np.random.default_rng(1)
    tokens, targets = rng.normal(size=(3, 16, 32)), rng.normal(size=(3, 16, 108))
    mask = rng.random((3, 16)) < 0.4
    theta = tiny.drawn_heads(objective).params

    def ours(theta, tokens):
        predicted = objective.heads.apply({"params": theta}, tokens)
        return masked_error(predicted, targets.astype(np.float32), jnp.asarray(mask)).mean()

    def independent(at):
        errors = ((reference.dense(at[0]["histograms"], at[1]) - targets) ** 2).mean(axis=-1)
        return np.mean([errors[i, mask[i]].mean() for i in range(3)])

    at = (theta, tokens.astype(np.float32))
    value, gradients = jax.jit(jax.value_and_grad(ours, (0, 1)))(*at)
    exact = jax.tree.map(lambda x: np.asarray(x, np.float64), at)
    assert float(value) == pytest.approx(independent(exact), rel=1e-5)
    assert_gradient(independent, exact, gradients)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"maskfeat.mask_ratio": 0.99}, r"maskfeat.mask_ratio: 0.99 leaves none of the 16 patches; use less"),
        ({"maskfeat.cell": 3}, r"maskfeat.cell: 3 does not divide the patch size 8"),
        ({"context.bank_length": 32}, r"context.bank_length: objective.name=maskfeat compares no pooled features"),
    ],
)
def test_settings_that_do_not_fit_are_refused_by_a_line(changes, message):
    with pytest.raises(UserError, match=message):
        train.build_program(tiny.tiny_config(**MASKFEAT | changes), 64)
