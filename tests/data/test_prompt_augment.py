"""Table 7: image and label stay aligned; colours change by the formulas, with their probabilities."""

import colorsys

import numpy as np
import pytest
import scipy.ndimage

from hummingbird.data.prompt_augment import augment_prompt, jitter_colours
from hummingbird.data.window import PADDING
from hummingbird.tasks import DepthTask, SegmentationTask

CLASSES = SegmentationTask([str(i) for i in range(200)])


def augmented(seed, image, label, size, task=CLASSES, **settings):
    out, window = augment_prompt(np.random.default_rng(seed), image, size, **settings)
    return out, window.label(label, task)


def coloured(mask):
    """Makes an image that stores the id of each pixel in its red channel."""
    return np.stack([mask * 40, np.full_like(mask, 100), np.full_like(mask, 50)], -1).astype(np.uint8)


def test_image_and_mask_stay_aligned_to_the_pixel():
    blocks = np.random.default_rng(0).integers(0, 6, (6, 8)).repeat(20, 0).repeat(20, 1).astype(np.int32)
    image = coloured(blocks)
    for seed in range(40):
        out, label = augmented(seed, image, blocks, 96, probability=0.0)
        assert out.shape == (96, 96, 3)
        assert label.shape == (96, 96)
        assert label.dtype == np.int32
        void = label == 255
        assert (out[void] == PADDING).all()
        error = np.abs(out[..., 0].astype(int) - label * 40)
        # only pixels next to a border between blocks may be mixed
        low = scipy.ndimage.minimum_filter(
            label, 7, mode="constant", cval=-1
        )  # -1: or next to the border of the square
        inner = ~void & (low == scipy.ndimage.maximum_filter(label, 7))
        assert inner.sum() > 100
        assert error[inner].max() <= 2


def test_the_scale_is_uniform_and_small_images_are_padded_with_void():
    mask = np.zeros((40, 40), np.int32)
    image = coloured(mask)
    sides, starts = [], []
    for seed in range(600):
        _, label = augmented(seed, image, mask, 90, probability=0.0)
        rows = np.flatnonzero((label == 0).any(1))
        sides.append(len(rows))
        starts.append(rows[0] / (90 - len(rows)))
        assert (label == 0).sum() == len(rows) ** 2
    assert min(sides) in (20, 21)
    assert max(sides) in (79, 80)
    assert abs(np.histogram(sides, 4, (20, 80))[0] / 600 - 0.25).max() < 0.07
    assert abs(np.histogram(starts, 4, (0, 1))[0] / 600 - 0.25).max() < 0.08


def test_the_scale_can_be_relative_to_the_input_as_queries_have_it():
    image = coloured(np.zeros((40, 400), np.int32))
    for seed in range(20):
        _, window = augment_prompt(np.random.default_rng(seed), image, 90, (90, 90))
        assert window.rows.resized == window.columns.resized
        assert 45 <= window.rows.resized <= 180


def test_large_images_are_cut_without_void():
    mask = np.arange(400 * 300, dtype=np.int32).reshape(300, 400) % 200
    out, label = augmented(0, coloured(mask % 5), mask, 64)
    assert (label < 200).all()
    assert out.shape == (64, 64, 3)


def test_depth_keeps_its_values_and_is_invalid_outside():
    depth = np.full((30, 30), 2.5, np.float32)
    _, label = augmented(1, np.zeros((30, 30, 3), np.uint8), depth, 64, DepthTask())
    assert label.dtype == np.float32
    assert set(np.unique(label)) == {0.0, 2.5}


def test_a_single_pixel_is_enough():
    image, label = augmented(0, np.full((1, 1, 3), 9, np.uint8), np.ones((1, 1), np.int32), 8)
    assert (label != 255).sum() in (1, 4)
    assert image.shape == (8, 8, 3)


def reference(image, brightness, contrast, saturation, hue):
    x = np.clip(image / 255.0 + brightness, 0, 1)
    x = np.clip((x - x.mean((0, 1))) * (1 + contrast) + x.mean((0, 1)), 0, 1)
    out = []
    for pixel in x.reshape(-1, 3):
        h, s, v = colorsys.rgb_to_hsv(*pixel)
        out.append(colorsys.hsv_to_rgb((h + hue) % 1, min(s * (1 + saturation), 1), v))
    return np.array(out).reshape(x.shape) * 255


@pytest.mark.parametrize(
    "shifts", [(0.1, 0, 0, 0), (0, -0.1, 0, 0), (0, 0, 0.1, 0), (0, 0, 0, -0.1), (-0.07, 0.1, -0.1, 0.05)]
)
def test_colours_change_by_the_formulas(shifts):
    image = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    assert np.abs(jitter_colours(image, *shifts) - reference(image, *shifts)).max() <= 1.6  # two roundings to 8 bits


def test_each_colour_operation_happens_half_of_the_time_up_to_its_maximum(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "hummingbird.data.prompt_augment.jitter_colours", lambda image, **shifts: seen.append(shifts) or image
    )
    image, mask = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.int32)
    for seed in range(800):
        augmented(seed, image, mask, 8)
    for name in ("brightness", "contrast", "saturation", "hue"):
        values = np.array([shifts[name] for shifts in seen])
        done = values[values != 0]
        assert abs(len(done) / 800 - 0.5) < 0.07
        assert 0.095 < abs(done).max() <= 0.1
        assert abs(done.mean()) < 0.015
