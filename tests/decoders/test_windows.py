"""Inference in parts: windows, scales and mirror images against the direct computation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hummingbird.decoders import windows
from hummingbird.errors import UserError
from hummingbird.tasks.upsampling import upsampled_argmax
from tests import reference

IMAGES = np.random.default_rng(0).random((2, 13, 22, 3)).astype(np.float32)


def identity(images):
    return images


def test_windows_of_an_identity_are_the_images():
    slide = jax.jit(windows.sliding(identity, window=8, stride=5))
    np.testing.assert_allclose(slide(IMAGES), IMAGES, atol=1e-6)


def test_overlapping_windows_are_averaged():
    """By a function that gives a pixel another value in each window: the difference from the window's mean."""
    slide = windows.sliding(lambda x: x - x.mean((1, 2), keepdims=True), window=8, stride=6)
    total, counts = np.zeros(IMAGES.shape), np.zeros((13, 22, 1))
    for y in (0, 5):
        for x in (0, 6, 12, 14):
            part = IMAGES[:, y : y + 8, x : x + 8].astype(np.float64)
            total[:, y : y + 8, x : x + 8] += part - part.mean((1, 2), keepdims=True)
            counts[y : y + 8, x : x + 8] += 1
    np.testing.assert_allclose(jax.jit(slide)(IMAGES), total / counts, atol=1e-5)


def test_outputs_of_patches_are_resized_within_their_window():
    patches = lambda x: x.reshape(len(x), 2, 4, 2, 4, 3).mean((2, 4))
    found = jax.jit(windows.sliding(patches, window=8, stride=8, patch=4))(IMAGES[:1, :8, :16])
    halves = [IMAGES[0, :8, x : x + 8].reshape(2, 4, 2, 4, 3).mean((1, 3)) for x in (0, 8)]
    exact = np.concatenate([reference.bilinear(half, 8, 8) for half in halves], axis=1)
    np.testing.assert_allclose(found[0], exact, atol=1e-5)


@pytest.mark.parametrize(
    ("length", "window", "stride", "found"),
    [(512, 512, 341, (0,)), (683, 512, 341, (0, 171)), (20, 8, 6, (0, 6, 12)), (5, 8, 8, (0,))],
)
def test_the_last_window_is_pushed_inwards(length, window, stride, found):
    assert windows.starts(length, window, stride) == found


def test_scales_and_mirrors_of_an_identity_average_resized_images():
    predict = windows.scaled(windows.mirrored(identity), scales=(0.5, 1.0), patch=4)
    images = IMAGES[:, :8, :16]
    small = jax.image.resize(images, (2, 4, 8, 3), "bilinear")
    exact = (images + np.stack([reference.bilinear(x, 8, 16) for x in np.asarray(small)])) / 2
    np.testing.assert_allclose(jax.jit(predict)(images), exact, atol=1e-5)


def test_a_mirror_negates_what_points_sideways():
    sideways = lambda x: jnp.stack([x[..., 0] * 0 + 1, x[..., 1]], -1)
    found = windows.mirrored(sideways, negated=(0,))(jnp.asarray(IMAGES))
    np.testing.assert_allclose(found[..., 0], 0)
    np.testing.assert_allclose(found[..., 1], IMAGES[..., 1], atol=1e-6)


def test_votes_win_where_logits_do():
    logits = np.random.default_rng(1).normal(size=(1, 3, 4, 5)).astype(np.float32) - 7
    votes = np.asarray(windows.as_votes(jnp.asarray(logits)))
    exact = reference.bilinear(logits[0], 9, 13).argmax(-1)
    np.testing.assert_array_equal(upsampled_argmax(votes[0], 9, 13), exact)


@pytest.mark.parametrize(
    ("window", "stride", "line"),
    [
        (8, 8, "decoder.window: 8 pixels are less than a patch of 16; use more"),
        (24, 8, "decoder.window: 24 is not a multiple of the patch size 16"),
        (32, 40, "decoder.stride: 40 is not between 1 and the window of 32 pixels"),
    ],
)
def test_windows_that_do_not_fit_are_refused_by_a_line(window, stride, line):
    with pytest.raises(UserError, match=line):
        windows.sliding(identity, window, stride, patch=16)
