"""Random resized crops: statistics of the boxes, resizing against a reference, and reduced decoding."""

import numpy as np
import pytest
from PIL import Image

from hummingbird.data import crops
from hummingbird.data.views import ViewGroup
from tests.data.files import encode, ramp

TABLE = {"area": (0.08, 1.0), "aspect": (3 / 4, 4 / 3)}


def test_boxes_have_uniform_area_and_log_uniform_aspect():
    rng = np.random.default_rng(0)
    boxes = np.array([crops.sample_box(rng, 4000, 4000) for _ in range(4000)], float)
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    area, aspect = width * height / 4000**2, np.log(width / height) / np.log(4 / 3)
    assert boxes.min() >= 0
    assert boxes.max() <= 4000
    assert area.min() > 0.079
    assert area.max() <= 1
    small = area < 0.7  # larger boxes may not fit and are redrawn, which favours squares
    assert abs(np.histogram(area[small], 5, (0.08, 0.7))[0] / small.sum() - 0.2).max() < 0.03
    assert abs(np.histogram(aspect[small], 5, (-1, 1))[0] / small.sum() - 0.2).max() < 0.03
    room = boxes[small, 0] / (4000 - width[small])
    assert abs(np.histogram(room, 5, (0, 1))[0] / small.sum() - 0.2).max() < 0.03


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 1000), (1000, 3), (1, 7)])
def test_a_box_fits_images_of_every_shape(width, height):
    rng = np.random.default_rng(0)
    for _ in range(50):
        left, upper, right, lower = crops.sample_box(rng, width, height)
        assert 0 <= left < right <= width
        assert 0 <= upper < lower <= height
    assert crops.random_resized_crop(rng, np.zeros((height, width, 3), np.uint8), 16).shape == (16, 16, 3)


def bicubic_matrix(length, start, stop, size):
    """Weights of Keys' cubic filter (a = -0.5), widened by the shrinking factor, cut at the border: [size, length]."""
    scale = (stop - start) / size
    stretch = max(scale, 1.0)
    centre = start + (np.arange(size)[:, None] + 0.5) * scale
    x = np.abs((np.arange(length) + 0.5 - centre) / stretch)
    weights = np.where(x < 1, 1.5 * x**3 - 2.5 * x**2 + 1, np.where(x < 2, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2, 0))
    return weights / weights.sum(1, keepdims=True)


@pytest.mark.parametrize("size", [48, 100, 60])
def test_resizing_is_antialiased_bicubic(size):
    image = np.random.default_rng(0).integers(0, 256, (96, 130, 3), dtype=np.uint8)
    ours = crops.resize_box(Image.fromarray(image), (7, 5, 97, 90), size)
    wide = np.clip(np.einsum("ij,hjc->hic", bicubic_matrix(130, 7, 97, size), image.astype(np.float64)), 0, 255)
    theirs = np.clip(np.einsum("ij,jwc->iwc", bicubic_matrix(96, 5, 90, size), wide), 0, 255)
    assert np.abs(ours - theirs).max() <= 1.6  # Pillow rounds between its two passes


def test_stripes_finer_than_the_result_turn_grey_instead_of_aliasing():
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.ptp(crops.resize_box(Image.fromarray(stripes), (0, 0, 512, 512), 60)) <= 10


def test_both_views_come_from_one_decoding_and_equal_single_crops():
    image = ramp(60, 90)
    views = crops.crop_views(np.random.default_rng(3), image, 32, **TABLE)
    rng = np.random.default_rng(3)
    boxes = [crops.sample_box(rng, 90, 60, **TABLE) for _ in range(2)]
    for view, box in zip(views, boxes, strict=True):
        np.testing.assert_array_equal(view, crops.resize_box(Image.fromarray(image), box, 32))
    np.testing.assert_array_equal(crops.crop_views(np.random.default_rng(3), encode(image), 32, **TABLE), views)


def test_groups_of_views_have_their_own_sizes_and_come_from_one_decoding(monkeypatch):
    decoded = []
    original = crops.open_image
    monkeypatch.setattr(crops, "open_image", lambda *a, **k: decoded.append(a) or original(*a, **k))
    groups = {"global": ViewGroup(2, 32, **TABLE), "local": ViewGroup(3, 12, (0.05, 0.2), (1.0, 1.0))}
    image = ramp(60, 90)
    views = crops.crop_groups(np.random.default_rng(3), encode(image), groups)
    assert {name: x.shape for name, x in views.items()} == {"global": (2, 32, 32, 3), "local": (3, 12, 12, 3)}
    assert len(decoded) == 1
    alone = crops.crop_views(np.random.default_rng(3), image, 32, **TABLE)
    np.testing.assert_array_equal(views["global"], alone)  # further groups do not change the first


def test_a_large_jpeg_is_decoded_smaller_with_nearly_the_same_views(monkeypatch):
    image = ramp(1200, 1600)
    data = encode(image, "JPEG", quality=95)
    sizes = []
    original = crops.open_image
    monkeypatch.setattr(crops, "open_image", lambda *a, **k: sizes.append(original(*a, **k)) or sizes[-1])
    for seed in range(5):
        fast = crops.crop_views(np.random.default_rng(seed), data, 64, (0.3, 1.0), TABLE["aspect"])
        slow = crops.crop_views(np.random.default_rng(seed), image, 64, (0.3, 1.0), TABLE["aspect"])
        assert np.abs(fast.astype(int) - slow).mean() < 1.5
    assert max(picture.width for picture in sizes) <= 800


def test_views_of_an_image_smaller_than_a_patch_are_whole():
    for side in (1, 2, 5):
        image = np.full((side, side, 3), 90, np.uint8)
        assert (crops.crop_views(np.random.default_rng(0), image, 24, **TABLE) == 90).all()
