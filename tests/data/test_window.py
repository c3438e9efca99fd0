"""Windows of resized images: what they show, and where their pixels and patches lie in the original."""

import numpy as np
import pytest
import scipy.ndimage
from PIL import Image

from hummingbird.data.window import PADDING, Side, Window, squashed
from hummingbird.tasks import SegmentationTask

CLASSES = SegmentationTask([str(i) for i in range(200)])


@pytest.mark.parametrize("size", [(480, 640), (400, 1600), (300, 2000), (40, 30)])
def test_every_side_that_shrinks_is_averaged_and_none_other(size):
    """The noise that is left is what a triangle as wide as the shrinking leaves of it, side by side."""
    noise = np.random.default_rng(0).normal(128, 30, (*size, 1)).clip(0, 255).astype(np.uint8).repeat(3, 2)
    picture = squashed(*size, 512, 512).picture(noise)[..., 0].astype(float)
    expected = noise[..., 0].astype(float)
    for axis, length in enumerate(size):
        step = max(1.0, length / 512)
        centres, positions = (np.arange(512) + 0.5) * length / 512, np.arange(length) + 0.5
        weights = np.maximum(0, 1 - np.abs(positions[None] - centres[:, None]) / step)
        weights /= weights.sum(1, keepdims=True)
        expected = np.moveaxis(np.tensordot(weights, expected, (1, axis)), 0, axis)
    assert np.abs(picture - expected).max() <= 1.01  # rounded after each side


def test_a_window_of_the_images_size_shows_it_unchanged():
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    np.testing.assert_array_equal(squashed(32, 48, 32, 48).picture(image), image)


def test_prompt_and_query_are_resized_by_one_filter():
    image = np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8)
    part = Window(Side(90, 60, 20, 32), Side(130, 40, 8, 32)).picture(image)
    whole = np.asarray(Image.fromarray(image).resize((40, 60), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(part, whole[20:52, 8:40], atol=1)


def test_padding_is_void_and_its_patches_have_no_area():
    window = Window(Side(10, 20, -12, 32), Side(40, 80, 16, 32))
    image = np.full((10, 40, 3), 7, np.uint8)
    picture, label = window.picture(image), window.label(np.full((10, 40), 3, np.int32), CLASSES)
    padding = (picture == PADDING).all(-1)
    assert padding[:12].all()
    assert not padding[12:].any()
    np.testing.assert_array_equal(label == 255, padding)
    cells = window.cells(8)
    assert cells.rows.tolist() == [0, 0, 2, 6, 10]
    assert cells.columns.tolist() == [8, 12, 16, 20, 24]


def test_labels_of_patches_are_those_of_the_pixels_that_the_picture_shows():
    """The share of a class in a patch is the mean of its indicator over the patch, up to the filter at the edges."""
    rng = np.random.default_rng(0)
    mask = (scipy.ndimage.gaussian_filter(rng.normal(size=(200, 300)), 6) > 0).astype(np.int32)
    image = (255 * mask).astype(np.uint8)[..., None].repeat(3, 2)
    window = Window(Side(200, 170, 30, 64), Side(300, 210, 17, 64))
    share = CLASSES.local_labels(mask, window.cells(16)).values
    share = (share[:, 1] / share.sum(1)).reshape(4, 4)
    shown = window.picture(image)[..., 0].reshape(4, 16, 4, 16).mean((1, 3)) / 255
    np.testing.assert_allclose(share, shown, atol=0.02)
